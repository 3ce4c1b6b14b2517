//! A way to a broker that can be cut: connections go through it, all end at once, and none is made until it is open again.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// The broker; none while the way is cut.
    to: Option<String>,
    /// Both ends of each connection since the last cut.
    ends: Vec<TcpStream>,
    over: bool,
}

impl Proxy {
    /// Takes a port. The way is cut until it is opened.
    pub(crate) fn new() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut state = shared.lock().unwrap();
                if state.over {
                    return;
                }
                // One that can't be led on is dropped, which closes it.
                if let (Ok(from), Some(to)) = (connection, state.to.as_ref().map(TcpStream::connect))
                    && let Ok(to) = to
                {
                    state.ends.extend([from.try_clone().unwrap(), to.try_clone().unwrap()]);
                    lead(&from, &to);
                    lead(&to, &from);
                }
            }
        });
        Proxy { address, state, thread: Some(thread) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn open(&self, to: &str) {
        self.lock().to = Some(to.to_owned());
    }

    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.to = None;
        state.ends.drain(..).for_each(|end| end.shutdown(Shutdown::Both).unwrap_or(()));
    }
}

fn lead(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.lock().over = true;
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
