//! A proxy before a PostgreSQL server that cuts connections at one statement: before the server has it, or once the server has
//! answered and before the client knows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Where connections are cut.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// How the statement begins.
    pub(crate) at: &'static str,
    /// Whether the server has it, and has answered.
    pub(crate) passed_on: bool,
    /// How many connections are refused afterwards, as by a server that starts again. All that are open are cut then.
    pub(crate) refused: usize,
    /// Whether the server ends the sessions itself, and says so, as when it is shut down: then nothing is cut here.
    pub(crate) says_so: bool,
}

#[derive(Default)]
struct State {
    cut: Option<Cut>,
    refusing: usize,
    open: Vec<TcpStream>,
}

/// A proxy, for as long as it lives.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

/// By which its sessions are known to the server.
const SESSIONS: &str = "tidegate-cut";

impl Proxy {
    /// A proxy before the server of `url`, and the URL by which it is reached.
    pub(crate) fn before(url: &str) -> (Proxy, String) {
        let (_, rest) = url.rsplit_once('@').unwrap();
        let server = rest.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, over) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let by_proxy = url.replace(&server, &format!("127.0.0.1:{port}"));
        let (by_proxy, direct) = (format!("{by_proxy}&application_name={SESSIONS}"), url.to_owned());
        let proxy = Proxy { port, state: Arc::clone(&state), over: Arc::clone(&over) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let mut known = state.lock().unwrap();
                if known.refusing > 0 {
                    known.refusing -= 1;
                    continue;
                }
                let server = TcpStream::connect(&server).unwrap();
                [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
                known.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(known);
                pass(client, server, &state, &direct);
            }
        });
        (proxy, by_proxy)
    }

    /// Cuts once, at the next statement that is meant.
    pub(crate) fn cut(&self, cut: Cut) {
        self.state.lock().unwrap().cut = Some(cut);
    }

    /// Whether the cut was made, and the server is back.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.cut.is_none() && state.refusing == 0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Passes bytes both ways until either side closes.
fn pass(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>, direct: &str) {
    // Set before a statement is passed on whose answer the client must not have.
    let last: Arc<Mutex<Option<Cut>>> = Arc::default();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    let (known, held, direct) = (Arc::clone(state), Arc::clone(&last), direct.to_owned());
    thread::spawn(move || {
        let mut first = true;
        while let Some(message) = message(&mut from_client, first) {
            first = false;
            if let Some(cut) = wanted(&known, &message) {
                if cut.says_so {
                    end_sessions(&direct);
                } else if !cut.passed_on {
                    return end(&known, &cut, &[&from_client, &to_server]);
                }
                if !cut.says_so {
                    *held.lock().unwrap() = Some(cut);
                }
            }
            if to_server.write_all(&message).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let known = Arc::clone(state);
    thread::spawn(move || {
        let (mut bytes, mut answer) = ([0; 8192], Vec::new());
        while let Ok(number @ 1..) = from_server.read(&mut bytes) {
            if let Some(cut) = &*last.lock().unwrap() {
                answer.extend_from_slice(&bytes[..number]);
                // "Ready for query": it is done with the statement.
                if answer.len() >= 6 && answer[answer.len() - 6..].starts_with(b"Z\0\0\0\x05") {
                    return end(&known, cut, &[&from_server, &to_client]);
                }
            } else if to_client.write_all(&bytes[..number]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// The next message of a client, as it is on the wire.
fn message(from: &mut TcpStream, first: bool) -> Option<Vec<u8>> {
    // The first has no letter before its length.
    let mut message = vec![0; if first { 4 } else { 5 }];
    from.read_exact(&mut message).ok()?;
    let length = u32::from_be_bytes(*message.last_chunk().unwrap()) as usize;
    let head = message.len();
    message.resize(head + length - 4, 0);
    from.read_exact(&mut message[head..]).ok()?;
    Some(message)
}

/// The cut that is to be made at this message; it is made once.
fn wanted(state: &Mutex<State>, message: &[u8]) -> Option<Cut> {
    let mut state = state.lock().unwrap();
    let at = state.cut.as_ref()?.at;
    let meant = message.first() == Some(&b'Q') && message[5..].starts_with(at.as_bytes());
    if meant { state.cut.take() } else { None }
}

/// Has the server end all sessions that come by the proxy, and waits until they are gone.
fn end_sessions(url: &str) {
    let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
    let end =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1";
    client.execute(end, &[&SESSIONS]).unwrap();
}

fn end(state: &Mutex<State>, cut: &Cut, connection: &[&TcpStream]) {
    let mut state = state.lock().unwrap();
    if cut.refused > 0 {
        state.refusing = cut.refused;
        state.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
    connection.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
}
