//! Streams of sockets, against a real TCP server in the test.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate::core::Guarantee;
use tidegate::testkit::receivers::{self, Origin, Sent};
use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate::{
    Conf, DStream, Data, Error, ExchangeData, InputDStream, ReceiverInfo, Result, Stop, StreamingContext,
    StreamingListener,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server that does with its connections, one after the other, what a test says.
struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

type Script = Box<dyn FnOnce(TcpStream) + Send>;

impl Server {
    fn new(scripts: Vec<Script>) -> Server {
        Server::on(TcpListener::bind("127.0.0.1:0").unwrap(), scripts)
    }

    fn on(listener: TcpListener, scripts: Vec<Script>) -> Server {
        let address = listener.local_addr().unwrap();
        let run = move || scripts.into_iter().for_each(|script| script(listener.accept().unwrap().0));
        Server { address, thread: std::thread::spawn(run) }
    }

    fn lines(&self, ssc: &StreamingContext) -> Result<DStream<String>> {
        Ok(plain(ssc.socket_text_stream("127.0.0.1", self.address.port())?))
    }
}

/// Sends `bytes` and closes.
fn send(bytes: impl Into<Vec<u8>>) -> Script {
    let bytes = bytes.into();
    Box::new(move |mut connection| connection.write_all(&bytes).unwrap())
}

/// Sends `bytes` and stays until the other side closes.
fn send_and_stay(bytes: impl Into<Vec<u8>>) -> Script {
    let bytes = bytes.into();
    Box::new(move |mut connection| {
        connection.write_all(&bytes).unwrap();
        let _ = connection.read(&mut [0]);
    })
}

fn plain<T: Data>(stream: InputDStream<T>) -> DStream<T> {
    DStream::clone(&stream)
}

fn conf() -> Conf {
    Conf::new().set_master("local[2]").set("tidegate.receiver.restart_delay_ms", "1")
}

fn start<T: ExchangeData + Sync>(
    conf: Conf,
    stream: impl FnOnce(&StreamingContext) -> Result<DStream<T>>,
) -> (TestJob, MemoryOutput<T>) {
    let output = MemoryOutput::new();
    let job = TestJob::start(conf, None, |ssc| stream(ssc)?.output("copy", output.clone()));
    (job.unwrap(), output)
}

/// Makes batches until `see` sees something.
fn until<T>(job: &mut TestJob, mut see: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() {
        job.next_batch().unwrap();
        if let Some(seen) = see() {
            return seen;
        }
        job.ssc.await_termination_or_timeout(Duration::from_millis(1)).unwrap();
    }
    panic!("not seen within {PATIENCE:?}");
}

/// The rows, once there are so many.
fn rows<T: Data + Sync>(job: &mut TestJob, output: &MemoryOutput<T>, count: usize) -> Vec<T> {
    until(job, || Some(output.rows()).filter(|rows| rows.len() >= count))
}

/// Makes batches until the job ends; gives the reason.
fn failure(job: &mut TestJob) -> Error {
    for _ in 0..PATIENCE.as_millis() {
        if let Err(error) = job.next_batch() {
            return error;
        }
        if let Err(error) = job.ssc.await_termination_or_timeout(Duration::from_millis(1)) {
            return error;
        }
    }
    panic!("the job goes on after {PATIENCE:?}");
}

fn stop(job: TestJob, server: Server) {
    job.ssc.stop(Stop::Gracefully).unwrap();
    drop(job);
    server.thread.join().unwrap();
}

#[test]
fn lines_come_from_one_connection_after_the_other_and_half_a_line_is_one_when_the_server_closes() {
    let server = Server::new(vec![send("one\ntwo\r\n\nhalf"), send("three\n"), send_and_stay("four\nnever")]);
    let (mut job, output) = start(conf(), |ssc| server.lines(ssc));
    let seen = rows(&mut job, &output, 6);
    stop(job, server);
    assert_eq!(seen, ["one", "two", "", "half", "three", "four"]);
    assert_eq!(output.rows().len(), 6, "the end of a line did not come, and the stop did not make it one");
}

#[test]
fn a_server_that_is_away_at_the_start_and_one_that_restarts_are_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (mut job, output) =
        start(conf(), |ssc| Ok(plain(ssc.socket_text_stream("127.0.0.1", address.port())?)));
    (0..5).for_each(|_| drop(job.next_batch().unwrap()));
    for (turn, line) in ["one", "two"].into_iter().enumerate() {
        let server = Server::on(TcpListener::bind(address).unwrap(), vec![send(format!("{line}\n"))]);
        assert_eq!(rows(&mut job, &output, turn + 1)[turn], line);
        server.thread.join().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
}

#[test]
fn a_server_that_sends_more_than_the_stream_holds_is_slowed_down_and_nothing_is_lost() {
    const LINES: usize = 40_000;
    let (tell, told) = channel();
    let flood: Script = Box::new(move |mut connection| {
        // Reads and socket buffers take some MiB; after those nothing more can be sent until a batch has taken something.
        connection.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let all: Vec<u8> = (0..LINES).flat_map(|n| format!("{n:0>999}\n").into_bytes()).collect();
        let mut sent = 0;
        while sent < all.len() {
            match connection.write(&all[sent..]) {
                Ok(written) => sent += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let _ = tell.send(sent);
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    let server = Server::new(vec![flood]);
    let held = conf().set("tidegate.receiver.held_bytes_max", "1000000");
    let (mut job, output) = start(held, |ssc| server.lines(ssc).map(|lines| lines.map(|line| line.len())));
    let sent = told.recv_timeout(PATIENCE).expect("the server is made to wait");
    assert!(sent < LINES * 1000 / 2, "it waits after {sent} bytes");
    let most = until(&mut job, || {
        let batches = output.batches();
        let rows: usize = batches.values().map(Vec::len).sum();
        (rows == LINES).then(|| batches.values().map(Vec::len).max().unwrap())
    });
    assert!(output.rows().iter().all(|length| *length == 999));
    // What is held, and what was read at once when the bound was not reached yet.
    assert!(most <= 1_000 + 140, "a batch of {most} lines of 1 kB");
    stop(job, server);
}

#[test]
fn a_line_without_an_end_is_left_out_when_that_is_wanted() {
    let endless: Script = Box::new(|mut connection| {
        connection.write_all(b"first\n").unwrap();
        let part = vec![b'x'; 1 << 20];
        (0..100).for_each(|_| connection.write_all(&part).unwrap());
        connection.write_all(b"\nnext\n").unwrap();
    });
    let server = Server::new(vec![endless]);
    let skip =
        conf().set("tidegate.socket.bad_lines", "skip").set("tidegate.receiver.held_bytes_max", "1000");
    let (mut job, output) = start(skip, |ssc| server.lines(ssc));
    assert_eq!(rows(&mut job, &output, 2), ["first", "next"]);
    stop(job, server);
}

#[test]
fn bad_lines_end_the_job_with_their_place_unless_they_are_to_be_left_out() {
    for (sent, wanted) in [
        (&b"good\nb\xffd\nmore\n"[..], "line 2 of the connection is not UTF-8 at its byte 1"),
        (
            b"good\n0123456789\nmore\n",
            "line 2 of the connection has more than 9 bytes (tidegate.socket.line_bytes_max)",
        ),
    ] {
        let short = || conf().set("tidegate.socket.line_bytes_max", "9");
        let server = Server::new(vec![send_and_stay(sent)]);
        let (mut job, _) = start(short(), |ssc| server.lines(ssc));
        let error = failure(&mut job).to_string();
        assert!(error.contains(wanted) && error.contains("tidegate.socket.bad_lines = skip"), "{error}");
        assert!(error.contains(&server.address.to_string()), "{error}");
        drop(job);
        server.thread.join().unwrap();

        let server = Server::new(vec![send_and_stay(sent)]);
        let skip = short().set("tidegate.socket.bad_lines", "skip");
        let (mut job, output) = start(skip, |ssc| server.lines(ssc));
        assert_eq!(rows(&mut job, &output, 2), ["good", "more"]);
        stop(job, server);
    }
}

/// Hands on what went wrong with a receiver.
struct Faults(Mutex<Sender<String>>);

impl StreamingListener for Faults {
    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        self.0.lock().unwrap().send(receiver.last_error.clone().unwrap()).unwrap();
    }
}

#[test]
fn each_line_that_is_left_out_is_told_to_listeners_with_its_place_and_why() {
    let server = Server::new(vec![send_and_stay(&b"good\nb\xffd\n0123456789\nmore\n"[..])]);
    let skip = conf().set("tidegate.socket.bad_lines", "skip").set("tidegate.socket.line_bytes_max", "9");
    let (tell, told) = channel();
    let (mut job, output) = start(skip, |ssc| {
        ssc.add_streaming_listener(Arc::new(Faults(Mutex::new(tell))))?;
        server.lines(ssc)
    });
    assert_eq!(rows(&mut job, &output, 2), ["good", "more"]);
    for (line, why) in [
        (2, "is not UTF-8 at its byte 1; it is left out (1 of this connection so far)"),
        (
            3,
            "has more than 9 bytes (tidegate.socket.line_bytes_max); it is left out (2 of this connection so far)",
        ),
    ] {
        let wanted = format!("socket {}: line {line} of the connection {why}", server.address);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), wanted);
    }
    stop(job, server);
}

#[test]
fn a_stop_does_not_wait_for_a_silent_server() {
    for how in [Stop::Gracefully, Stop::Now] {
        let (connected, told) = channel();
        let silent: Script = Box::new(move |mut connection| {
            connected.send(()).unwrap();
            let _ = connection.read(&mut [0]);
        });
        let server = Server::new(vec![silent]);
        let (job, _) = start(conf(), |ssc| server.lines(ssc));
        told.recv_timeout(PATIENCE).unwrap();
        let (ssc, (tell, told)) = (job.ssc.clone(), channel());
        std::thread::spawn(move || tell.send(ssc.stop(how)));
        told.recv_timeout(PATIENCE).expect("the job stops").unwrap();
        server.thread.join().unwrap();
    }
}

fn block(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], bytes].concat()
}

#[test]
fn raw_blocks_come_as_they_were_sent() {
    let large = vec![7; 300_000];
    let first = [block(3, b"\x00\xff\n"), block(0, b""), block(300_000, &large), block(9, b"half")].concat();
    let server = Server::new(vec![send(first), send_and_stay(block(2, b"ok"))]);
    let (mut job, output) =
        start(conf(), |ssc| Ok(plain(ssc.raw_socket_stream("127.0.0.1", server.address.port())?)));
    let seen = rows(&mut job, &output, 4);
    assert_eq!(seen, [&b"\x00\xff\n"[..], b"", &large, b"ok"]);
    stop(job, server);
}

#[test]
fn a_raw_block_that_is_too_long_ends_the_job_or_is_left_out() {
    let sent = [block(1, b"a"), block(11, b"01234567890"), block(1, b"b")].concat();
    let raw = |conf: Conf, server: &Server| {
        let port = server.address.port();
        start(conf.set("tidegate.socket.line_bytes_max", "10"), |ssc| {
            Ok(plain(ssc.raw_socket_stream("127.0.0.1", port)?))
        })
    };
    let server = Server::new(vec![send_and_stay(sent.clone())]);
    let (mut job, _) = raw(conf(), &server);
    let error = failure(&mut job).to_string();
    assert!(error.contains("block 2 of the connection says that it has 11 bytes"), "{error}");
    drop(job);
    let server = Server::new(vec![send_and_stay(sent)]);
    let (mut job, output) = raw(conf().set("tidegate.socket.bad_lines", "skip"), &server);
    assert_eq!(rows(&mut job, &output, 2), [b"a", b"b"]);
    stop(job, server);
}

/// Numbers with `;` between, on one connection after the other.
fn numbers(ssc: &StreamingContext, server: &Server) -> Result<DStream<u64>> {
    let stream = ssc.socket_stream("127.0.0.1", server.address.port(), |reader| {
        reader.split(b';').map(|text| {
            let text =
                String::from_utf8(text?).map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e))?;
            assert_ne!(text, "panic", "as it was told to");
            text.parse().map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e))
        })
    })?;
    Ok(plain(stream))
}

#[test]
fn a_converter_of_the_users_own_reads_what_it_likes() {
    let server = Server::new(vec![send("1;2;30"), send_and_stay("4;5")]);
    let (mut job, output) = start(conf(), |ssc| numbers(ssc, &server));
    assert_eq!(rows(&mut job, &output, 4), [1, 2, 30, 4]);
    stop(job, server);
}

#[test]
fn a_converter_that_fails_or_panics_ends_the_job_and_what_came_before_is_kept() {
    for (sent, wanted) in [("1;x;2;", "invalid digit found in string"), ("1;panic;2;", "as it was told to")] {
        let server = Server::new(vec![send_and_stay(sent)]);
        let (mut job, output) = start(conf(), |ssc| numbers(ssc, &server));
        let error = failure(&mut job);
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.kind(), tidegate::ErrorKind::UserCode);
        assert!(output.rows().iter().all(|number| *number == 1), "{:?}", output.rows());
        drop(job);
        server.thread.join().unwrap();
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (key, value, wanted) in [
        ("tidegate.socket.bad_lines", "ignore", "tidegate.socket.bad_lines = ignore: must be fail or skip"),
        (
            "tidegate.socket.line_bytes_max",
            "0",
            "tidegate.socket.line_bytes_max = 0: must be a number above 0",
        ),
        ("tidegate.socket.line_bytes_max", "9999999999", "must be at most 4194299"),
    ] {
        let ssc = StreamingContext::new(conf().set(key, value), Duration::from_secs(1)).unwrap();
        let refused = ssc.socket_text_stream("localhost", 1).err().unwrap().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
}

/// A server of lines that a test lets come and go.
struct LineServer {
    address: SocketAddr,
    /// Tells the thread that accepts to end; and its connections.
    serving: Mutex<Option<Serving>>,
}

struct Serving {
    end: Arc<Mutex<bool>>,
    thread: JoinHandle<()>,
    connections: Receiver<TcpStream>,
    connection: Option<BufReader<TcpStream>>,
}

impl LineServer {
    fn new() -> LineServer {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        LineServer { address, serving: Mutex::default() }
    }
}

fn accept(listener: &TcpListener, end: &Mutex<bool>, tell: &Sender<TcpStream>) {
    loop {
        let (connection, _) = listener.accept().unwrap();
        if *end.lock().unwrap() {
            return;
        }
        let _ = tell.send(connection);
    }
}

impl Origin for LineServer {
    fn stream(&self, ssc: &StreamingContext) -> Result<DStream<String>> {
        Ok(plain(ssc.socket_text_stream("127.0.0.1", self.address.port())?))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtMostOnce
    }

    fn appear(&self) {
        let mut serving = self.serving.lock().unwrap();
        if serving.is_none() {
            let listener = TcpListener::bind(self.address).unwrap();
            let (end, (tell, connections)) = (Arc::<Mutex<bool>>::default(), channel());
            let ends = end.clone();
            let thread = std::thread::spawn(move || accept(&listener, &ends, &tell));
            *serving = Some(Serving { end, thread, connections, connection: None });
        }
    }

    fn vanish(&self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            *serving.end.lock().unwrap() = true;
            let _ = TcpStream::connect(self.address);
            serving.thread.join().unwrap();
        }
    }

    fn send(&self, _: u64, record: &str) -> Sent {
        let mut serving = self.serving.lock().unwrap();
        let serving = serving.as_mut().expect("it is there");
        let next = || serving.connections.recv_timeout(PATIENCE).expect("the receiver connects");
        let mut connection = serving.connection.take().unwrap_or_else(|| BufReader::new(next()));
        // The receiver sends nothing: where there is something to read it is the end.
        let closed = |connection: &mut BufReader<TcpStream>| {
            connection.get_ref().set_nonblocking(true).unwrap();
            let closed = connection.fill_buf().is_ok_and(<[u8]>::is_empty);
            connection.get_ref().set_nonblocking(false).unwrap();
            closed
        };
        while closed(&mut connection) {
            connection = BufReader::new(next());
        }
        connection.get_mut().write_all(format!("{record}\n").as_bytes()).unwrap();
        serving.connection = Some(connection);
        Sent::Untold
    }

    fn panicking(&self, ssc: &StreamingContext) -> Option<Result<DStream<String>>> {
        let stream = ssc.socket_stream("127.0.0.1", self.address.port(), |reader| {
            reader.lines().inspect(|_| panic!("as it was told to"))
        });
        Some(stream.map(plain))
    }
}

impl Drop for LineServer {
    fn drop(&mut self) {
        if let Ok(serving) = self.serving.get_mut()
            && let Some(serving) = serving.take()
        {
            *serving.end.lock().unwrap() = true;
            let _ = TcpStream::connect(self.address).map(|connection| connection.shutdown(Shutdown::Both));
            let _ = serving.thread.join();
        }
    }
}

#[test]
fn a_socket_holds_what_every_receiver_must() {
    receivers::all(LineServer::new);
}
