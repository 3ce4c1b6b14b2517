//! The other side of a cluster: a process that does what the driver orders.

use crate::cluster::door::{Door, connect};
use crate::cluster::driver::SEND_TIME;
use crate::cluster::frame;
use crate::cluster::mesh::{self, Mesh};
use crate::cluster::message::{Hello, Order, Report, Start, What};
use crate::cluster::token::ClusterToken;
use crate::context::Beginning;
use crate::counts::Counts;
use crate::graph::Graph;
use crate::output::WriterOrder;
use crate::runtime::WorkerThreads;
use crate::tally::Reports;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tidegate_core::{BatchId, Error, OutputReport, Result, Runtime};

/// Orders that wait at most; then they wait in the socket. There are never more than a few.
const ORDERS_MAX: usize = 64;

/// Worker threads that a driver may ask for.
const WORKERS_MAX: usize = 1024;

/// A process of a cluster other than the driver's: runs workers for as long as the driver wants.
pub struct PeerProcess {
    graph: Graph,
    process: usize,
    driver: SocketAddr,
    token: ClusterToken,
    listen: SocketAddr,
}

impl PeerProcess {
    /// Process `process` (from 1) of the job of the driver at `driver`. `graph` must be built by the same program.
    pub fn new(graph: Graph, process: usize, driver: SocketAddr, token: ClusterToken) -> PeerProcess {
        PeerProcess { graph, process, driver, token, listen: (Ipv4Addr::LOCALHOST, 0).into() }
    }

    /// The same, taking the connections of other processes at `address` instead of any free port of the loopback. They
    /// reach it at the address from which this process connects to the driver.
    #[must_use]
    pub fn listening_at(mut self, address: SocketAddr) -> PeerProcess {
        self.listen = address;
        self
    }

    /// Does what the driver orders until the job has ended.
    ///
    /// # Errors
    /// `Retry` when the driver can't be reached or is lost: what was not committed is discarded, and a new process takes
    /// this one's place.
    pub fn run(self) -> Result<()> {
        self.graph.freeze();
        let mut door = Door::open(self.listen, &self.token)?;
        let hello = Hello::Control { process: self.process, port: door.address().port() };
        let lost = |error: io::Error| self.lost().because(error);
        let control = connect(self.driver, &self.token, &hello, Instant::now() + SEND_TIME)
            .map_err(|error| error.context("the driver"))?;
        control.set_write_timeout(Some(SEND_TIME)).map_err(lost)?;
        let from = control.try_clone().map_err(lost)?;
        let (hand_on, orders) = bounded(ORDERS_MAX);
        let reader = std::thread::Builder::new()
            .name("tidegate-orders".to_owned())
            .spawn(move || read(BufReader::new(from), &hand_on))
            .map_err(lost)?;
        let control = Arc::new(Control { process: self.process, socket: Mutex::new(control) });
        let obeyed = self.obey(&mut door, &control, &orders);
        control.close();
        drop(orders);
        match (obeyed, reader.join()) {
            (Obeyed::Left, _) => Ok(()),
            (Obeyed::Abandoned, Ok(Err(error))) => Err(self.lost().because(error)),
            (Obeyed::Abandoned, _) => Err(self.lost()),
        }
    }

    fn obey(&self, door: &mut Door, control: &Arc<Control>, orders: &Receiver<Order>) -> Obeyed {
        let mut epoch: Option<WorkerThreads> = None;
        loop {
            match (orders.recv(), &mut epoch) {
                (Ok(Order::Start(start)), epoch) => {
                    *epoch = None;
                    let reports: Arc<dyn Reports> =
                        Arc::new(Relay { epoch: start.epoch, control: control.clone() });
                    match self.begin(*start, door, orders, &reports) {
                        Ok(threads) => *epoch = Some(threads),
                        Err(error) => reports.fail(error),
                    }
                }
                (Ok(Order::Run(plan)), Some(epoch)) => epoch.run(Arc::new(plan)),
                (Ok(Order::Commit(batch)), Some(epoch)) => epoch.commit(batch),
                // The start failed, and the driver did not know yet.
                (Ok(Order::Run(_) | Order::Commit(_)), None) => {}
                (Ok(Order::Stop), epoch) => *epoch = None,
                (Ok(Order::Leave), _) => return Obeyed::Left,
                (Err(_), _) => return Obeyed::Abandoned,
            }
        }
    }

    fn begin(
        &self,
        start: Start,
        door: &mut Door,
        orders: &Receiver<Order>,
        reports: &Arc<dyn Reports>,
    ) -> Result<WorkerThreads> {
        let Start { epoch, workers, peers, shape, first, held, committed, careful } = start;
        let (process, processes) = (self.process, peers.len() + 1);
        if !(1..=WORKERS_MAX).contains(&workers) || !(1..processes).contains(&process) {
            return Err(Error::bug(format!("told to be one of {processes} processes of {workers} workers")));
        }
        let here = self.graph.shape();
        if here != shape {
            return Err(Error::reconfigure(format!(
                "this process built another graph than the driver: {here}; the driver's: {shape}. Run the same program with \
                 the same settings in all processes"
            )));
        }
        let before: Vec<_> =
            std::iter::once(self.driver).chain(peers.into_iter().take(process - 1)).collect();
        let mesh = Mesh { epoch, process, processes, before: &before, token: &self.token };
        let sockets = mesh.open(door, orders)?;
        let allocators = mesh::allocators(sockets, process, workers, reports)?;
        // A graph with state is refused by the driver: there is nothing to restore here.
        let beginning =
            Beginning { first, held: Arc::new(held), committed, restore: None, careful, state: None };
        WorkerThreads::spawn(&self.graph, allocators, process * workers, beginning, reports.clone(), None)
    }

    fn lost(&self) -> Error {
        Error::retry(format!("process {} lost the driver at {}", self.process, self.driver))
    }
}

/// How a process's work ended.
enum Obeyed {
    Left,
    Abandoned,
}

fn read(mut from: BufReader<TcpStream>, hand_on: &Sender<Order>) -> io::Result<()> {
    while let Some(order) = frame::read(&mut from)? {
        if hand_on.send(order).is_err() {
            break;
        }
    }
    Ok(())
}

/// The connection to the driver.
struct Control {
    process: usize,
    socket: Mutex<TcpStream>,
}

impl Control {
    fn send(&self, report: &Report) {
        let sent = {
            let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
            frame::write(&mut *socket, report)
        };
        if let Err(error) = sent {
            log::warn!("process {}: can't report to the driver: {error}", self.process);
            // Half a message may be out, so nothing can follow. Whoever reads orders sees the end.
            self.close();
        }
    }

    fn close(&self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// Reports of one epoch, on their way to the driver's tally.
struct Relay {
    epoch: u64,
    control: Arc<Control>,
}

impl Relay {
    fn tell(&self, what: What) {
        self.control.send(&Report { epoch: self.epoch, what });
    }
}

impl Reports for Relay {
    fn built(&self, seats: usize) {
        self.tell(What::Built { seats });
    }

    fn ready(&self) {
        self.tell(What::Ready);
    }

    fn processed(&self, batch: BatchId, counts: Counts) {
        self.tell(What::Processed { batch, counts });
    }

    fn prepared(&self, batch: BatchId) {
        self.tell(What::Prepared(batch));
    }

    fn committed(&self, batch: BatchId, done: OutputReport) {
        self.tell(What::Committed { batch, done });
    }

    /// The first worker is with the driver, never in another process.
    fn completes(&self, _: Sender<WriterOrder>) {
        self.fail(Error::bug("a writer that is not of the first worker would complete batches"));
    }

    fn completed(&self, _: BatchId, _: OutputReport) {}

    fn fail(&self, error: Error) {
        self.tell(What::failed(&error));
    }
}
