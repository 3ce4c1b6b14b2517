//! A way to a server that can be cut: for tests of what a client does when its connection is lost, at a request of theirs.
//!
//! Clients connect to the wire, which passes bytes on both ways. It knows no protocol: which request is meant, a closure of the test
//! sees from what the client has sent since the server last answered. So it fits clients that wait for an answer before they send
//! the next request.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What is kept of a request to be looked at; the rest is passed on like all of it.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A way to a server, for as long as this value lives.
///
/// One thing at a time can be asked of it: [`Wire::cut_at`] and its like take the place of what was asked before and has not come.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    listener: Option<JoinHandle<()>>,
}

/// What is lost when a connection is cut at a request.
#[derive(Clone, Copy, Debug)]
pub enum Lost {
    /// The request: the server never has all of it.
    Request,
    /// The answer: the server has answered, and the client never knows. The function says of what the server has sent since the
    /// request whether that is the answer.
    Answer(fn(&[u8]) -> bool),
}

type IsMeant = Box<dyn FnMut(&[u8]) -> bool + Send>;
type IsAnswer = fn(&[u8]) -> bool;

/// What was asked for.
enum Asked {
    /// Every connection is cut when so many more bytes have reached the server.
    CutAfter {
        bytes: usize,
        refused: usize,
    },
    CutAt {
        is_meant: IsMeant,
        lost: Lost,
        refused: usize,
    },
    Call {
        is_meant: IsMeant,
        action: Box<dyn FnOnce() + Send>,
    },
}

#[derive(Default)]
struct State {
    to: String,
    /// How many of the next connections are not made.
    refused: usize,
    asked: Option<Asked>,
    cuts: usize,
    /// Both ends of each connection, by its number.
    connections: Vec<(usize, [TcpStream; 2])>,
    over: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}, {} connections, {} cuts", self.to, self.connections.len(), self.cuts)
    }
}

/// What becomes of bytes on their way to the server.
enum Way {
    On,
    /// So many of them are passed on; then there is a cut, with so many connections refused.
    Cut(usize, usize),
    /// They are passed on, and the answer is not.
    Unanswered(IsAnswer, usize),
    /// They are passed on when this was called.
    Called(Box<dyn FnOnce() + Send>),
}

impl Wire {
    /// A wire to the server at `to`, as `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// When there is no port.
    pub fn to(to: &str) -> Wire {
        let wire = Wire::shut();
        wire.open_to(to);
        wire
    }

    /// A wire that makes no connection until it is opened: for a server that must know the address of its clients before it starts.
    ///
    /// # Panics
    /// When there is no port.
    pub fn shut() -> Wire {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("what is bound has an address");
        let state = Arc::new(Mutex::new(State { refused: usize::MAX, ..State::default() }));
        let listener = thread::spawn({
            let state = state.clone();
            move || listen(&listener, &state)
        });
        Wire { address, state, listener: Some(listener) }
    }

    /// The address for clients: `127.0.0.1:PORT`. It stays the same.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Makes connections again, and asks for nothing.
    pub fn open(&self) {
        let mut state = lock(&self.state);
        state.refused = 0;
        state.asked = None;
    }

    /// As [`Wire::open`], to a server at another address.
    pub fn open_to(&self, to: &str) {
        to.clone_into(&mut lock(&self.state).to);
        self.open();
    }

    /// Ends all connections, and makes none until it is opened.
    pub fn cut(&self) {
        lock(&self.state).cut(usize::MAX);
    }

    /// As [`Wire::cut`], once `bytes` more have reached the server, of all connections together.
    pub fn cut_after(&self, bytes: usize) {
        self.ask(Asked::CutAfter { bytes, refused: usize::MAX });
    }

    /// Ends one connection once `bytes` more have reached the server; the next one is made.
    pub fn cut_once_after(&self, bytes: usize) {
        self.ask(Asked::CutAfter { bytes, refused: 0 });
    }

    /// Cuts once, at the next request that is meant, and makes none of the `refused` next connections, as when a server starts again:
    /// with 0 the one connection ends, else all do, and with `usize::MAX` none is made until the wire is opened.
    pub fn cut_at(&self, is_meant: impl FnMut(&[u8]) -> bool + Send + 'static, lost: Lost, refused: usize) {
        self.ask(Asked::CutAt { is_meant: Box::new(is_meant), lost, refused });
    }

    /// Calls `action` at the next request that is meant, and passes the request on when it returns.
    pub fn call_at(
        &self,
        is_meant: impl FnMut(&[u8]) -> bool + Send + 'static,
        action: impl FnOnce() + Send + 'static,
    ) {
        self.ask(Asked::Call { is_meant: Box::new(is_meant), action: Box::new(action) });
    }

    fn ask(&self, asked: Asked) {
        lock(&self.state).asked = Some(asked);
    }

    /// How often it was cut.
    pub fn cuts(&self) -> usize {
        lock(&self.state).cuts
    }

    /// Whether the next connection is made, and nothing is asked for that is still to come.
    pub fn is_open(&self) -> bool {
        let state = lock(&self.state);
        state.refused == 0 && state.asked.is_none()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        lock(&self.state).over = true;
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl State {
    fn cut(&mut self, refused: usize) {
        self.cuts += 1;
        self.refused = refused;
        for (_, ends) in self.connections.drain(..) {
            end(&ends);
        }
    }

    /// What becomes of the last `read` bytes of a request.
    fn way(&mut self, request: &[u8], read: usize) -> Way {
        let comes = match &mut self.asked {
            None => false,
            Some(Asked::CutAfter { bytes, .. }) if *bytes >= read => {
                *bytes -= read;
                false
            }
            Some(Asked::CutAfter { .. }) => true,
            Some(Asked::CutAt { is_meant, .. } | Asked::Call { is_meant, .. }) => is_meant(request),
        };
        match self.asked.take_if(|_| comes) {
            None => Way::On,
            Some(Asked::CutAfter { bytes, refused }) => Way::Cut(bytes, refused),
            Some(Asked::CutAt { lost: Lost::Request, refused, .. }) => Way::Cut(0, refused),
            Some(Asked::CutAt { lost: Lost::Answer(is_answer), refused, .. }) => {
                Way::Unanswered(is_answer, refused)
            }
            Some(Asked::Call { action, .. }) => Way::Called(action),
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(ends: &[TcpStream; 2]) {
    // One that is closed already is what is wanted.
    ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
}

fn listen(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    for (number, client) in listener.incoming().enumerate() {
        let mut known = lock(state);
        if known.over {
            return;
        }
        if known.refused > 0 {
            known.refused = if known.refused == usize::MAX { usize::MAX } else { known.refused - 1 };
            continue;
        }
        // A client that can't be led on is dropped, which closes its connection.
        let led = client.and_then(|client| Connection::make(number, client, &known.to, state));
        if let Ok((connection, ends)) = led {
            known.connections.push((number, ends));
            drop(known);
            connection.carry();
        }
    }
}

/// One connection, and what the answers' thread must know of the requests'.
struct Connection {
    number: usize,
    ends: [TcpStream; 2],
    wire: Arc<Mutex<State>>,
    sent: Arc<Mutex<Sent>>,
}

/// What the client has sent since the server last answered.
#[derive(Default)]
struct Sent {
    request: Vec<u8>,
    /// Its answer is not passed on: what tells it, what came of it, and how many connections are refused then.
    unanswered: Option<(IsAnswer, Vec<u8>, usize)>,
}

impl Connection {
    fn make(
        number: usize,
        client: TcpStream,
        to: &str,
        wire: &Arc<Mutex<State>>,
    ) -> io::Result<(Connection, [TcpStream; 2])> {
        let server = TcpStream::connect(to)?;
        [&client, &server].iter().try_for_each(|end| end.set_nodelay(true))?;
        let ends = [client.try_clone()?, server.try_clone()?];
        let connection =
            Connection { number, ends: [client, server], wire: wire.clone(), sent: Arc::default() };
        Ok((connection, ends))
    }

    /// Passes bytes on, by two threads, until either side closes.
    fn carry(self) {
        let (there, back) = (Arc::new(self), Arc::clone);
        let back = back(&there);
        thread::spawn(move || there.until_it_ends(Connection::pass_request, 0));
        thread::spawn(move || back.until_it_ends(Connection::pass_answer, 1));
    }

    /// Reads from one of both ends and has `pass` bring it to the other.
    fn until_it_ends(&self, pass: impl Fn(&Connection, &[u8]) -> io::Result<()>, from: usize) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(read @ 1..) = (&self.ends[from]).read(&mut bytes) {
            if pass(self, &bytes[..read]).is_err() {
                break;
            }
        }
        // Both ends see it.
        end(&self.ends);
        lock(&self.wire).connections.retain(|(number, _)| *number != self.number);
    }

    fn pass_request(&self, bytes: &[u8]) -> io::Result<()> {
        let mut server = &self.ends[1];
        let mut sent = lock(&self.sent);
        let room = REQUEST_BYTES_MAX - sent.request.len().min(REQUEST_BYTES_MAX);
        sent.request.extend(&bytes[..bytes.len().min(room)]);
        let way = lock(&self.wire).way(&sent.request, bytes.len());
        if let Way::Unanswered(is_answer, refused) = way {
            sent.unanswered = Some((is_answer, Vec::new(), refused));
        }
        drop(sent);
        match way {
            Way::On | Way::Unanswered(..) => {}
            Way::Called(action) => action(),
            Way::Cut(through, refused) => {
                let _ = server.write_all(&bytes[..through]);
                return Err(self.cut(refused));
            }
        }
        server.write_all(bytes)
    }

    fn pass_answer(&self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = lock(&self.sent);
        sent.request.clear();
        if let Some((is_answer, answer, refused)) = &mut sent.unanswered {
            answer.extend(bytes);
            return if is_answer(answer) { Err(self.cut(*refused)) } else { Ok(()) };
        }
        drop(sent);
        (&self.ends[0]).write_all(bytes)
    }

    /// Ends this connection, and all others if any is to be refused.
    fn cut(&self, refused: usize) -> io::Error {
        let mut wire = lock(&self.wire);
        if refused > 0 {
            wire.cut(refused);
        } else {
            wire.cuts += 1;
        }
        io::ErrorKind::ConnectionAborted.into()
    }
}
