//! The dataflow as several processes: the same results as one process, and a process that dies ends an epoch, never more.
//!
//! The second process is this test binary again, told by its environment to run `peer_process` alone.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod numbers;

use numbers::{Trap, expected, graph, held, plan, stored};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchReport, EpochStart, ErrorKind, Result, Runtime, RuntimeEvent, RuntimeFactory,
};
use tidegate_dataflow::{ClusterRuntimes, ClusterSettings, ClusterToken, PeerProcess, TimelyRuntimes};

/// A test that hangs fails instead.
const LONGEST: Duration = Duration::from_secs(60);

const DRIVER: &str = "TIDEGATE_TEST_DRIVER";
const TOKEN: &str = "TIDEGATE_TEST_TOKEN";
const DIRECTORY: &str = "TIDEGATE_TEST_DIRECTORY";
const STALL_AT: &str = "TIDEGATE_TEST_STALL_AT";

/// Not a test: the second process.
#[test]
fn peer_process() {
    let Ok(driver) = std::env::var(DRIVER) else { return };
    let token: ClusterToken = std::env::var(TOKEN).unwrap().parse().unwrap();
    let directory = std::env::var(DIRECTORY).unwrap();
    let stall = std::env::var(STALL_AT).ok().map_or(Trap::None, |at| Trap::Stall(at.parse().unwrap()));
    PeerProcess::new(graph(Path::new(&directory), stall), 1, driver.parse().unwrap(), token).run().unwrap();
}

/// A second process. Killed when the test ends before it does.
struct Peer(Child);

impl Peer {
    fn start(driver: SocketAddr, token: &ClusterToken, directory: &Path, stall_at: Option<u64>) -> Peer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["peer_process", "--exact", "--nocapture"]);
        command.env(DRIVER, driver.to_string()).env(TOKEN, token.reveal()).env(DIRECTORY, directory);
        command.envs(stall_at.map(|at| (STALL_AT, at.to_string())));
        command.stdout(if stall_at.is_some() { Stdio::piped() } else { Stdio::null() });
        Peer(command.spawn().unwrap())
    }

    /// Waits until the process has stalled, as it was told to.
    fn await_stall(&mut self) {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(numbers::STALLED)), "the second process stalls");
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An epoch as the engine would drive it.
struct Epoch {
    runtime: Box<dyn Runtime>,
    events: Receiver<RuntimeEvent>,
}

impl Epoch {
    fn start(factory: &mut dyn RuntimeFactory, directory: &Path, epoch: u64, first: u64) -> Result<Epoch> {
        let (tell, events) = channel();
        let tell = Mutex::new(tell);
        let events_of_epoch = Arc::new(move |event| {
            let _ = tell.lock().unwrap().send(event);
        });
        let start =
            EpochStart { epoch, held: held(directory), ..EpochStart::fresh(BatchId(first), events_of_epoch) };
        Ok(Epoch { runtime: factory.start(start)?, events })
    }

    fn next(&self) -> RuntimeEvent {
        self.events.recv_timeout(LONGEST).expect("the runtime reports in time")
    }

    /// Runs and commits a batch.
    fn batch(&mut self, id: u64) -> BatchReport {
        self.runtime.run(Arc::new(plan(id)));
        let (mut processed, mut prepared) = (None, false);
        while processed.is_none() || !prepared {
            match self.next() {
                RuntimeEvent::Processed(report) if report.batch == BatchId(id) => processed = Some(report),
                RuntimeEvent::Prepared(batch) if batch == BatchId(id) => prepared = true,
                other => panic!("batch {id}: {other:?}"),
            }
        }
        self.runtime.commit(BatchId(id));
        assert!(matches!(self.next(), RuntimeEvent::Committed(batch, _) if batch == BatchId(id)));
        processed.unwrap()
    }
}

fn cluster(directory: &Path, processes: usize, workers: usize) -> (ClusterRuntimes, ClusterToken) {
    let settings = ClusterSettings { patience: LONGEST, ..ClusterSettings::local(processes, workers) };
    let token = settings.token.clone();
    (ClusterRuntimes::listen(graph(directory, Trap::None), settings).unwrap(), token)
}

/// Panics of timely's network threads since the first call: none is ever wanted.
fn network_panics() -> usize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("timely:") && !name.contains("work")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            print(panic);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}

#[test]
fn two_processes_give_what_one_does() {
    network_panics();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut local = TimelyRuntimes::local(graph(one.path(), Trap::None), 3);
    let mut epoch = Epoch::start(&mut local, one.path(), 1, 1).unwrap();
    let reports: Vec<_> = (1..=4).map(|id| epoch.batch(id)).collect();

    let (mut factory, token) = cluster(two.path(), 2, 2);
    let mut peer = Peer::start(factory.address(), &token, two.path(), None);
    let mut epoch = Epoch::start(&mut factory, two.path(), 1, 1).unwrap();
    for report in &reports {
        let same = epoch.batch(report.batch.0);
        assert_eq!((same.records, &same.ages), (report.records, &report.ages));
    }
    drop(epoch);
    drop(factory);
    assert!(peer.0.wait().unwrap().success(), "the second process leaves in order");

    let (one, two) = (stored(one.path()), stored(two.path()));
    assert_eq!(two.rows, expected(1..=4));
    assert_eq!(two.rows, one.rows);
    assert_eq!((one.whole, two.whole), ((1..=4).collect(), (1..=4).collect()), "each batch is completed");
    let here = std::process::id();
    assert_eq!(two.writers["one"], [here].into(), "one writer, in the driver's process");
    assert_eq!(two.writers["spread"].len(), 2, "writers in both processes");
    assert_eq!(network_panics(), 0);
}

#[test]
fn an_epoch_follows_another_on_the_same_processes() {
    let directory = tempfile::tempdir().unwrap();
    let (mut factory, token) = cluster(directory.path(), 2, 1);
    let _peer = Peer::start(factory.address(), &token, directory.path(), None);
    for id in 1..=5 {
        // Ended with a batch on its way, which the next epoch runs again.
        let mut epoch = Epoch::start(&mut factory, directory.path(), id, id).unwrap();
        epoch.batch(id);
        epoch.runtime.run(Arc::new(plan(id + 1)));
    }
    assert_eq!(stored(directory.path()).rows, expected(1..=5));
    assert_eq!(network_panics(), 0);
}

#[test]
fn a_killed_process_ends_the_epoch_and_a_new_one_finishes_the_batch() {
    network_panics();
    let directory = tempfile::tempdir().unwrap();
    let (mut factory, token) = cluster(directory.path(), 2, 2);
    let stall_at = plan(2).sources[0].ranges[0].from + 700;
    let mut peer = Peer::start(factory.address(), &token, directory.path(), Some(stall_at));
    let mut epoch = Epoch::start(&mut factory, directory.path(), 1, 1).unwrap();
    epoch.batch(1);
    epoch.runtime.run(Arc::new(plan(2)));
    peer.await_stall();
    peer.kill();
    let RuntimeEvent::Failed(error) = epoch.next() else { panic!("the epoch fails") };
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("process 1"), "{error}");
    drop(epoch);
    assert_eq!(network_panics(), 0);
    assert_eq!(stored(directory.path()).rows, expected(1..=1));

    let _peer = Peer::start(factory.address(), &token, directory.path(), None);
    let mut epoch = Epoch::start(&mut factory, directory.path(), 2, 2).unwrap();
    epoch.batch(2);
    epoch.batch(3);
    assert_eq!(stored(directory.path()).rows, expected(1..=3));
}

/// Processes of a cluster that are threads of this one: they share nothing but the sockets.
fn peers(
    processes: usize,
    driver: SocketAddr,
    token: &ClusterToken,
    graph: impl Fn() -> tidegate_dataflow::Graph,
) -> Vec<JoinHandle<Result<()>>> {
    let peer = |process| PeerProcess::new(graph(), process, driver, token.clone());
    (1..processes).map(peer).map(|peer| std::thread::spawn(move || peer.run())).collect()
}

#[test]
fn a_panic_in_one_of_three_processes_is_told_and_poisons_nothing() {
    network_panics();
    let directory = tempfile::tempdir().unwrap();
    let (mut factory, token) = cluster(directory.path(), 3, 1);
    // Partition 5 is read by worker 2 of 3, in the last process.
    let panics = Trap::panic_once_at(5, plan(1).sources[0].ranges[0].from + 3);
    let threads = peers(3, factory.address(), &token, || graph(directory.path(), panics.clone()));
    let mut epoch = Epoch::start(&mut factory, directory.path(), 1, 1).unwrap();
    epoch.runtime.run(Arc::new(plan(1)));
    let RuntimeEvent::Failed(error) = epoch.next() else { panic!("the epoch fails") };
    assert_eq!(error.kind(), ErrorKind::UserCode, "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("process 2: ") && text.contains("flat_map") && text.contains("a trap"),
        "{text}"
    );
    drop(epoch);
    let mut epoch = Epoch::start(&mut factory, directory.path(), 2, 1).unwrap();
    epoch.batch(1);
    drop((epoch, factory));
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    assert_eq!(stored(directory.path()).rows, expected(1..=1));
    assert_eq!(network_panics(), 0);
}

#[test]
fn processes_that_built_different_graphs_are_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let (mut factory, token) = cluster(directory.path(), 2, 1);
    let threads = peers(2, factory.address(), &token, || tidegate_dataflow::Graph::new(100));
    let error = Epoch::start(&mut factory, directory.path(), 1, 1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().starts_with("process 1: this process built another graph"), "{error}");
    drop(factory);
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
}

#[test]
fn a_process_that_does_not_come_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ClusterSettings { patience: Duration::from_millis(1), ..ClusterSettings::local(2, 1) };
    let mut factory = ClusterRuntimes::listen(graph(directory.path(), Trap::None), settings).unwrap();
    let error = Epoch::start(&mut factory, directory.path(), 1, 1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().starts_with("process 1 of 2 has not connected to 127.0.0.1:"), "{error}");
}

#[test]
fn a_cluster_of_one_process_is_a_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let (mut factory, _) = cluster(directory.path(), 1, 2);
    Epoch::start(&mut factory, directory.path(), 1, 1).unwrap().batch(1);
    assert_eq!(stored(directory.path()).rows, expected(1..=1));
}

#[test]
fn a_process_whose_driver_is_gone_ends() {
    let directory = tempfile::tempdir().unwrap();
    let token = ClusterToken::random();
    let driver = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = driver.local_addr().unwrap();
    let thread = peers(2, address, &token, || graph(directory.path(), Trap::None)).remove(0);
    let (mut stream, _) = driver.accept().unwrap();
    let mut knock = [0; 32];
    stream.read_exact(&mut knock).unwrap();
    assert_eq!(knock, token.reveal().as_bytes()[..32]);
    stream.write_all(&token.reveal().as_bytes()[32..]).unwrap();
    drop((stream, driver));
    let error = thread.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("lost the driver"), "{error}");
}
