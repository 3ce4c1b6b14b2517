//! Where a process takes connections: each is asked for the token by a thread of its own, with a deadline, and only then
//! handed on. And the other side of it: connecting.

use crate::cluster::frame;
use crate::cluster::message::Hello;
use crate::cluster::token::{ClusterToken, HALF_BYTES, same_secret};
use crossbeam_channel::{Receiver, Select, Sender, bounded};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate_core::{Error, Result};

/// Time in which whoever connects must have shown the token and said who it is.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Connections asked for the token at the same time; one more is closed.
const HANDSHAKES_MAX: usize = 64;

/// Connections that were let in and not yet looked at; one more is closed.
const ARRIVALS_MAX: usize = 256;

/// Pause when the system can't accept a connection, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that showed the token.
pub(crate) struct Arrival {
    pub(crate) hello: Hello,
    pub(crate) stream: TcpStream,
}

/// What to do with an arrival.
pub(crate) enum Fit {
    Take,
    /// Not what is waited for now, but what will be later.
    Keep,
    /// Of no use to anybody: closed.
    Close,
}

/// A listening socket, and a thread that accepts on it. Dropping it closes both.
pub(crate) struct Door {
    address: SocketAddr,
    arrivals: Receiver<Arrival>,
    kept: Vec<Arrival>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Listens at `address`.
    ///
    /// # Errors
    /// `Reconfigure` when the address can't be had.
    pub(crate) fn open(address: SocketAddr, token: &ClusterToken) -> Result<Door> {
        let cant = |error| Error::reconfigure(format!("can't listen at {address}")).because(error);
        let listener = TcpListener::bind(address).map_err(cant)?;
        let address = listener.local_addr().map_err(cant)?;
        let closing = Arc::new(AtomicBool::new(false));
        let (hand_on, arrivals) = bounded(ARRIVALS_MAX);
        let porter = Porter { token: token.clone(), hand_on, closing: closing.clone() };
        let thread = std::thread::Builder::new()
            .name("tidegate-door".to_owned())
            .spawn(move || porter.serve(&listener))
            .map_err(|error| Error::retry("can't start a thread for connections").because(error))?;
        Ok(Door { address, arrivals, kept: Vec::new(), closing, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next arrival that `fit` takes. `None`: the deadline has passed, or something is to be received from
    /// `interrupt`.
    pub(crate) fn next<I>(
        &mut self,
        deadline: Instant,
        interrupt: &Receiver<I>,
        fit: impl Fn(&Hello) -> Fit,
    ) -> Option<Arrival> {
        let kept = self.kept.iter().position(|arrival| matches!(fit(&arrival.hello), Fit::Take));
        if let Some(place) = kept {
            return Some(self.kept.remove(place));
        }
        loop {
            let mut either = Select::new_biased();
            either.recv(interrupt);
            let arrived = either.recv(&self.arrivals);
            if either.ready_deadline(deadline) != Ok(arrived) {
                return None;
            }
            let arrival = self.arrivals.try_recv().ok()?;
            match fit(&arrival.hello) {
                Fit::Take => return Some(arrival),
                Fit::Keep if self.kept.len() < ARRIVALS_MAX => self.kept.push(arrival),
                Fit::Keep | Fit::Close => {}
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // The thread waits for a connection: it is given one.
        let here = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let woken = TcpStream::connect_timeout(&(here, self.address.port()).into(), HANDSHAKE_TIME);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

struct Porter {
    token: ClusterToken,
    hand_on: Sender<Arrival>,
    closing: Arc<AtomicBool>,
}

impl Porter {
    fn serve(self, listener: &TcpListener) {
        let asked = Arc::new(());
        loop {
            let accepted = listener.accept();
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            match accepted {
                Ok((stream, _)) if Arc::strong_count(&asked) <= HANDSHAKES_MAX => self.ask(stream, &asked),
                Ok((_, from)) => log::warn!("{from}: too many connections at once; this one is closed"),
                Err(error) => {
                    log::warn!("{}: can't accept a connection: {error}", listener_name(listener));
                    std::thread::park_timeout(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn ask(&self, mut stream: TcpStream, asked: &Arc<()>) {
        let (token, hand_on, asked) = (self.token.clone(), self.hand_on.clone(), asked.clone());
        let ask = move || {
            let _counted = asked;
            match let_in(&mut stream, &token) {
                // Nobody who waits for it, or too many that were not waited for: closed.
                Ok(Some(hello)) => drop(hand_on.try_send(Arrival { hello, stream })),
                Ok(None) => {}
                Err(error) => log::warn!("{}: not let in: {error}", peer_name(&stream)),
            }
        };
        // Without a thread the connection is closed; whoever connected tries again.
        if let Err(error) = std::thread::Builder::new().name("tidegate-knock".to_owned()).spawn(ask) {
            log::warn!("can't start a thread for a connection: {error}");
        }
    }
}

/// Asks whoever connected for the token, then who it is.
fn let_in(stream: &mut TcpStream, token: &ClusterToken) -> io::Result<Option<Hello>> {
    let deadline = Instant::now() + HANDSHAKE_TIME;
    stream.set_nodelay(true)?;
    let mut knock = [0; HALF_BYTES];
    Until { stream, deadline }.read_exact(&mut knock)?;
    if !same_secret(&knock, token.knock()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it does not have the token"));
    }
    stream.write_all(token.answer())?;
    let hello = frame::read(&mut Until { stream, deadline })?;
    stream.set_read_timeout(None)?;
    Ok(hello)
}

/// Connects to the door of another process.
///
/// # Errors
/// `Retry` when nobody is there or it closes the connection, `Reconfigure` when it is a stranger.
pub(crate) fn connect(
    address: SocketAddr,
    token: &ClusterToken,
    hello: &Hello,
    deadline: Instant,
) -> Result<TcpStream> {
    let deadline = deadline.min(Instant::now() + HANDSHAKE_TIME);
    let away = |error: io::Error| Error::retry(format!("can't reach {address}")).because(error);
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&address, left).map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    stream.write_all(token.knock()).map_err(away)?;
    let mut answer = [0; HALF_BYTES];
    Until { stream: &stream, deadline }.read_exact(&mut answer).map_err(|error| {
        Error::retry(format!("{address} did not take the token; it may be that of another run"))
            .because(error)
    })?;
    if !same_secret(&answer, token.answer()) {
        return Err(Error::reconfigure(format!(
            "who listens at {address} does not have the token: it is no process of this job"
        )));
    }
    frame::write(&mut stream, hello).map_err(away)?;
    stream.set_read_timeout(None).map_err(away)?;
    Ok(stream)
}

/// Reads until a deadline, however slowly the bytes drip.
struct Until<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(out)
    }
}

fn peer_name(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(|_| "a connection".to_owned(), |address| address.to_string())
}

fn listener_name(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "a listener".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::never;

    fn door(token: &ClusterToken) -> Door {
        Door::open((Ipv4Addr::LOCALHOST, 0).into(), token).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn who_has_the_token_is_let_in_and_others_are_closed() {
        let (token, hello) = (ClusterToken::random(), Hello::Mesh { epoch: 3, process: 1 });
        let mut door = door(&token);
        let mut stranger = TcpStream::connect(door.address()).unwrap();
        stranger.write_all(&[b'0'; 2 * HALF_BYTES]).unwrap();
        let mut told = Vec::new();
        // Closed with bytes unread, which the system may call a reset.
        let _ = stranger.read_to_end(&mut told);
        assert!(told.is_empty());
        let error = connect(door.address(), &ClusterToken::random(), &hello, soon()).unwrap_err();
        assert!(error.to_string().contains("did not take the token"), "{error}");
        connect(door.address(), &token, &hello, soon()).unwrap();
        let arrival = door.next(soon(), &never::<()>(), |_| Fit::Take).unwrap();
        assert_eq!(arrival.hello, hello);
        assert!(door.arrivals.is_empty());
    }

    #[test]
    fn a_silent_connection_keeps_nobody_else_out() {
        let (token, hello) = (ClusterToken::random(), Hello::Control { process: 1, port: 9 });
        let mut door = door(&token);
        let _silent = TcpStream::connect(door.address()).unwrap();
        connect(door.address(), &token, &hello, soon()).unwrap();
        assert_eq!(door.next(soon(), &never::<()>(), |_| Fit::Take).unwrap().hello, hello);
    }

    #[test]
    fn a_listener_without_the_token_learns_nothing_but_half_of_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thief = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; HALF_BYTES];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        let hello = Hello::Control { process: 1, port: 9 };
        let error = connect(address, &ClusterToken::random(), &hello, soon()).unwrap_err();
        assert!(error.to_string().contains("no process of this job"), "{error}");
        assert!(thief.join().unwrap().is_empty());
    }

    #[test]
    fn what_is_kept_is_found_later_and_an_interrupt_ends_the_wait() {
        let token = ClusterToken::random();
        let mut door = door(&token);
        let later = Hello::Mesh { epoch: 2, process: 1 };
        connect(door.address(), &token, &later, soon()).unwrap();
        connect(door.address(), &token, &Hello::Mesh { epoch: 1, process: 1 }, soon()).unwrap();
        let at = |wanted| {
            move |hello: &Hello| match hello {
                Hello::Mesh { epoch, .. } if *epoch == wanted => Fit::Take,
                _ => Fit::Keep,
            }
        };
        assert!(door.next(soon(), &never::<()>(), at(1)).is_some());
        assert_eq!(door.next(soon(), &never::<()>(), at(2)).unwrap().hello, later);
        let (interrupt, interrupted) = bounded(1);
        interrupt.send(()).unwrap();
        assert!(door.next(soon(), &interrupted, at(1)).is_none());
        assert_eq!(interrupted.len(), 1);
    }
}
