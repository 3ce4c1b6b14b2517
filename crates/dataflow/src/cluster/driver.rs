//! The driver's side of a cluster: links to the other processes, and epochs over them.

use crate::cluster::door::{Arrival, Door, Fit};
use crate::cluster::frame;
use crate::cluster::mesh::{self, Mesh};
use crate::cluster::message::{Hello, Order, Report, Start, What};
use crate::cluster::token::ClusterToken;
use crate::context::Beginning;
use crate::graph::Graph;
use crate::runtime::WorkerThreads;
use crate::tally::{Reports, Tally};
use crossbeam_channel::{Sender, bounded, never};
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate_core::{BatchId, BatchPlan, EpochStart, Error, Result, Runtime, RuntimeFactory};

/// Time in which a process must have taken an order from its socket; else it counts as lost.
pub(crate) const SEND_TIME: Duration = Duration::from_secs(10);

/// How a job is spread over processes.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Number of processes, the driver's among them.
    pub processes: usize,
    /// Worker threads in each process.
    pub workers: usize,
    /// The secret of this run.
    pub token: ClusterToken,
    /// Where the driver listens. The connections are not encrypted.
    pub listen: SocketAddr,
    /// How long the start of an epoch waits for a process that is not there.
    pub patience: Duration,
}

impl ClusterSettings {
    /// `processes` on this machine with `workers` threads each: a new token, any free port of the loopback, half a minute for
    /// the processes to come.
    pub fn local(processes: usize, workers: usize) -> ClusterSettings {
        ClusterSettings {
            processes,
            workers,
            token: ClusterToken::random(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            patience: Duration::from_secs(30),
        }
    }
}

/// Starts epochs on a mesh of several processes: this one, which is process 0, and [`PeerProcess`](crate::PeerProcess)es.
///
/// Who starts the processes is not decided here: they connect to [`address`](ClusterRuntimes::address) and stay for any number
/// of epochs. Dropping it tells them that the job has ended.
pub struct ClusterRuntimes {
    graph: Graph,
    settings: ClusterSettings,
    door: Door,
    /// Of process 1, 2 and so on.
    links: Vec<Option<Link>>,
    epoch: u64,
}

impl ClusterRuntimes {
    /// Listens for the other processes.
    ///
    /// # Errors
    /// `Reconfigure` when the settings make no sense, or the address can't be had.
    pub fn listen(graph: Graph, settings: ClusterSettings) -> Result<ClusterRuntimes> {
        let ClusterSettings { processes, workers, .. } = settings;
        if processes == 0 || workers == 0 {
            return Err(Error::reconfigure(format!(
                "a cluster of {processes} processes with {workers} workers each: there must be one at least"
            )));
        }
        let door = Door::open(settings.listen, &settings.token)?;
        let links = (1..processes).map(|_| None).collect();
        Ok(ClusterRuntimes { graph, settings, door, links, epoch: 0 })
    }

    /// Where the other processes connect.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Waits until every process is there.
    fn gather(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.settings.patience;
        let processes = self.settings.processes;
        let newcomer = |hello: &Hello| match hello {
            Hello::Control { process, .. } if (1..processes).contains(process) => Fit::Take,
            // Mesh connections belong to epochs that are over.
            Hello::Control { .. } | Hello::Mesh { .. } => Fit::Close,
        };
        // Those that came back meanwhile first: a link may look alive though its process was replaced.
        while let Some(arrival) = self.door.next(Instant::now(), &never::<()>(), newcomer) {
            self.welcome(arrival)?;
        }
        loop {
            let gone = |link: &Option<Link>| link.as_ref().is_none_or(Link::is_lost);
            let Some(missing) = self.links.iter().position(gone) else { return Ok(()) };
            let Some(arrival) = self.door.next(deadline, &never::<()>(), newcomer) else {
                return Err(Error::retry(format!(
                    "process {} of {processes} has not connected to {} in {:?}",
                    missing + 1,
                    self.address(),
                    self.settings.patience
                )));
            };
            self.welcome(arrival)?;
        }
    }

    fn welcome(&mut self, arrival: Arrival) -> Result<()> {
        if let Hello::Control { process, port } = arrival.hello {
            self.links[process - 1] = Some(Link::new(process, port, arrival.stream)?);
        }
        Ok(())
    }
}

impl RuntimeFactory for ClusterRuntimes {
    fn start(&mut self, start: EpochStart) -> Result<Box<dyn Runtime>> {
        if !self.graph.states_in_use()?.is_empty() {
            return Err(Error::reconfigure(
                "operators with state do not run in a cluster of processes yet; use local[n]",
            ));
        }
        self.gather()?;
        self.epoch += 1;
        let (epoch, workers, processes) = (self.epoch, self.settings.workers, self.settings.processes);
        let tally = Tally::of(&start);
        let links: Vec<_> = self.links.iter().flatten().map(|link| link.shared.clone()).collect();
        let order = Order::Start(Box::new(Start {
            epoch,
            workers,
            peers: self.links.iter().flatten().map(|link| link.door).collect(),
            shape: self.graph.shape(),
            first: start.first,
            held: start.held.clone(),
            committed: start.committed,
            careful: start.careful,
        }));
        let (trouble, troubled) = bounded(1);
        links
            .iter()
            .for_each(|link| link.serve(Serving { epoch, tally: tally.clone(), trouble: trouble.clone() }));
        // Dropped by any of the errors below, it ends the epoch on the other processes.
        let mut runtime = ClusterRuntime { links, tally: tally.clone(), threads: None };
        runtime.order(&order);
        let mesh = Mesh { epoch, process: 0, processes, before: &[], token: &self.settings.token };
        // What a process reported says more than that it did not come.
        let sockets =
            mesh.open(&mut self.door, &troubled).map_err(|error| tally.failure().unwrap_or(error))?;
        let reports: Arc<dyn Reports> = tally.clone();
        let allocators = mesh::allocators(sockets, 0, workers, &reports)?;
        let threads = WorkerThreads::spawn(&self.graph, allocators, 0, Beginning::of(&start), reports, None)?;
        runtime.threads = Some(threads);
        tally.await_ready(processes * workers)?;
        Ok(Box::new(runtime))
    }
}

impl Drop for ClusterRuntimes {
    fn drop(&mut self) {
        self.links.iter_mut().flatten().for_each(Link::leave);
    }
}

/// One epoch on all processes.
struct ClusterRuntime {
    links: Vec<Arc<LinkShared>>,
    tally: Arc<Tally>,
    threads: Option<WorkerThreads>,
}

impl ClusterRuntime {
    fn order(&self, order: &Order) {
        match frame::encode(order) {
            Ok(bytes) => self.links.iter().for_each(|link| link.send(&bytes)),
            // It would be as long the next time.
            Err(error) => {
                self.tally
                    .fail(Error::reconfigure("can't hand a batch to the other processes").because(error));
            }
        }
    }
}

impl Runtime for ClusterRuntime {
    fn run(&mut self, plan: Arc<BatchPlan>) {
        self.order(&Order::Run(BatchPlan::clone(&plan)));
        if let Some(threads) = &mut self.threads {
            threads.run(plan);
        }
    }

    fn commit(&mut self, batch: BatchId) {
        self.order(&Order::Commit(batch));
        if let Some(threads) = &mut self.threads {
            threads.commit(batch);
        }
    }

    fn snapshot(&mut self, _: BatchId) {}
}

impl Drop for ClusterRuntime {
    fn drop(&mut self) {
        for link in &self.links {
            link.rest();
            link.order(&Order::Stop);
        }
        // Joins the workers here. What those of other processes still do is fenced by the next epoch.
        self.threads = None;
    }
}

/// The control connection to one process, for as long as it lives.
struct Link {
    shared: Arc<LinkShared>,
    /// Where the process takes mesh connections.
    door: SocketAddr,
    reader: Option<JoinHandle<()>>,
}

struct LinkShared {
    process: usize,
    socket: Mutex<TcpStream>,
    state: Mutex<LinkState>,
}

enum LinkState {
    Idle,
    Serving(Serving),
    Lost(String),
}

/// The epoch whose reports a link takes.
struct Serving {
    epoch: u64,
    tally: Arc<Tally>,
    /// Wakes whoever waits for the mesh.
    trouble: Sender<()>,
}

impl Serving {
    fn fail(&self, error: Error) {
        self.tally.fail(error);
        let _ = self.trouble.try_send(());
    }
}

impl Link {
    fn new(process: usize, port: u16, socket: TcpStream) -> Result<Link> {
        let cant = |error: io::Error| Error::retry(format!("the link to process {process}")).because(error);
        socket.set_write_timeout(Some(SEND_TIME)).map_err(cant)?;
        let door = SocketAddr::new(socket.peer_addr().map_err(cant)?.ip(), port);
        let from = socket.try_clone().map_err(cant)?;
        let shared =
            Arc::new(LinkShared { process, socket: Mutex::new(socket), state: Mutex::new(LinkState::Idle) });
        let reading = shared.clone();
        let reader = std::thread::Builder::new()
            .name(format!("tidegate-link-{process}"))
            .spawn(move || reading.read(BufReader::new(from)))
            .map_err(cant)?;
        log::info!("process {process} is there, at {door}");
        Ok(Link { shared, door, reader: Some(reader) })
    }

    fn is_lost(&self) -> bool {
        matches!(*self.shared.state(), LinkState::Lost(_))
    }

    /// Lets the process go. What it still says is read until it closes the connection, for else the system might reset
    /// the connection before the process has read its last order; nobody waits for that.
    fn leave(&mut self) {
        self.shared.rest();
        self.shared.order(&Order::Leave);
        let _ = lock(&self.shared.socket).shutdown(Shutdown::Write);
        self.reader = None;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.shared.rest();
            let _ = lock(&self.shared.socket).shutdown(Shutdown::Both);
            let _ = reader.join();
        }
    }
}

impl LinkShared {
    /// From now on reports count for `serving`.
    fn serve(&self, serving: Serving) {
        let mut state = self.state();
        match &*state {
            LinkState::Lost(how) => serving.fail(self.loss(how)),
            LinkState::Idle | LinkState::Serving(_) => *state = LinkState::Serving(serving),
        }
    }

    /// From now on nothing is reported.
    fn rest(&self) {
        let mut state = self.state();
        if let LinkState::Serving(_) = *state {
            *state = LinkState::Idle;
        }
    }

    fn read(&self, mut from: BufReader<TcpStream>) {
        let how = loop {
            match frame::read::<Report>(&mut from) {
                Ok(Some(report)) => self.reported(report),
                Ok(None) => break "it closed its connection".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        self.lose(how);
    }

    /// Counts a report. It is told while the state is held, so that nothing is told of an epoch that has ended.
    fn reported(&self, report: Report) {
        let state = self.state();
        let LinkState::Serving(serving) = &*state else { return };
        if serving.epoch != report.epoch {
            return;
        }
        let tally = &serving.tally;
        match report.what {
            What::Built { seats } => tally.built(seats),
            What::Ready => tally.ready(),
            What::Processed { batch, counts } => tally.processed(batch, counts),
            What::Prepared(batch) => tally.prepared(batch),
            What::Committed { batch, done } => tally.committed(batch, done),
            What::Failed { kind, message } => {
                serving.fail(kind.error(message).context(format!("process {}", self.process)));
            }
        }
    }

    fn order(&self, order: &Order) {
        if let Ok(bytes) = frame::encode(order) {
            self.send(&bytes);
        }
    }

    fn send(&self, bytes: &[u8]) {
        let sent = lock(&self.socket).write_all(bytes);
        if let Err(error) = sent {
            self.lose(error.to_string());
        }
    }

    fn lose(&self, how: String) {
        let _ = lock(&self.socket).shutdown(Shutdown::Both);
        let mut state = self.state();
        match &*state {
            LinkState::Lost(_) => return,
            LinkState::Idle => {}
            LinkState::Serving(serving) => serving.fail(self.loss(&how)),
        }
        *state = LinkState::Lost(how);
    }

    fn loss(&self, how: &str) -> Error {
        Error::retry(format!("process {} was lost: {how}", self.process))
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
