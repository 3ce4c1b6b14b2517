//! The sockets of one epoch, opened by us and handed to timely.
//!
//! Timely gives each socket a thread that sends and one that receives. What they do when it breaks: the receiving one panics
//! ("timely communication error: reading data: socket closed"), the sending one too at its next write. The panic poisons the
//! queues between them and the workers, so each worker panics in its next step ("MergeQueue poisoned."), and dropping
//! `CommsGuard`, which joins the threads, panics once more; a panic while another one unwinds would abort the process. And a
//! worker that panics for a reason of its own poisons the other way: its sending thread dies and leaves the socket open,
//! so that both sides wait for ever.
//!
//! So here they never see a broken socket, and no worker is dropped by a panic ([`WorkerStart`](crate::worker::WorkerStart)).
//! [`MeshStream`] reports the break; from then on it swallows what is sent, and lets whoever reads wait until the epoch is
//! over and its workers are gone. Then it makes up the rest of the message it was in and the end of the stream: nobody is
//! left who could take it for data, and the thread ends in order. The end of an epoch closes the sockets under the
//! threads, so it waits for no other process.

use crate::cluster::door::{Arrival, Door, Fit, connect};
use crate::cluster::message::Hello;
use crate::cluster::token::ClusterToken;
use crate::tally::Reports;
use crossbeam_channel::Receiver;
use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidegate_core::{Error, Result};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::communication::{AllocatorBuilder, Hooks};

/// Time in which all connections of a mesh must stand.
const MESH_TIME: Duration = Duration::from_secs(10);

/// One process's part of a mesh.
pub(crate) struct Mesh<'a> {
    pub(crate) epoch: u64,
    pub(crate) process: usize,
    pub(crate) processes: usize,
    /// The doors of the processes before this one, in order.
    pub(crate) before: &'a [SocketAddr],
    pub(crate) token: &'a ClusterToken,
}

impl Mesh<'_> {
    /// Connects to the processes before this one in order of their index, then takes the connections of those after it.
    /// Gives up when something is to be received from `interrupt`.
    ///
    /// # Errors
    /// `Retry`, naming the process that is missing.
    pub(crate) fn open<I>(&self, door: &mut Door, interrupt: &Receiver<I>) -> Result<Vec<Option<TcpStream>>> {
        let deadline = Instant::now() + MESH_TIME;
        let hello = Hello::Mesh { epoch: self.epoch, process: self.process };
        let mut sockets: Vec<Option<TcpStream>> = Vec::new();
        for (process, address) in self.before.iter().enumerate() {
            let socket = connect(*address, self.token, &hello, deadline);
            sockets.push(Some(socket.map_err(|error| error.context(format!("process {process}")))?));
        }
        sockets.resize_with(self.processes, || None);
        while let Some(missing) = (self.process + 1..self.processes).find(|place| sockets[*place].is_none()) {
            let fit = |hello: &Hello| match *hello {
                Hello::Mesh { epoch, process } if epoch == self.epoch => {
                    let awaited = process > self.process && sockets.get(process).is_some_and(Option::is_none);
                    if awaited { Fit::Take } else { Fit::Close }
                }
                Hello::Mesh { epoch, .. } if epoch < self.epoch => Fit::Close,
                // For the next mesh; this one was given up.
                Hello::Mesh { .. } | Hello::Control { .. } => Fit::Keep,
            };
            match door.next(deadline, interrupt, fit) {
                Some(Arrival { hello: Hello::Mesh { process, .. }, stream }) => {
                    sockets[process] = Some(stream)
                }
                _ => return Err(Error::retry(format!("process {missing} did not join the mesh in time"))),
            }
        }
        Ok(sockets)
    }
}

/// What timely starts workers from: `sockets` to the other processes, by their index. The second part ends the mesh when it
/// is dropped, which must be after the workers.
///
/// # Errors
/// `Retry` when the system has no descriptors or threads left.
pub(crate) fn allocators(
    sockets: Vec<Option<TcpStream>>,
    process: usize,
    workers: usize,
    reports: &Arc<dyn Reports>,
) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>)> {
    let cant = |error: io::Error| Error::retry("can't start the mesh").because(error);
    let ending = Arc::new(Ending::default());
    let mut guard = MeshGuard { ending: ending.clone(), sockets: Vec::new(), network: None };
    let mut streams = Vec::new();
    for (remote, socket) in sockets.into_iter().enumerate() {
        let Some(socket) = socket else {
            streams.push(None);
            continue;
        };
        guard.sockets.push(socket.try_clone().map_err(cant)?);
        let (ending, reports) = (ending.clone(), reports.clone());
        streams.push(Some(MeshStream { socket, remote, ending, reports, frames: Frames::default() }));
    }
    let hooks = Hooks::default();
    let local = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, network) =
        initialize_networking_from_sockets(local, streams, process, workers, hooks).map_err(cant)?;
    guard.network = Some(network);
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}

/// Ends a mesh: closes its sockets and joins timely's threads.
struct MeshGuard {
    ending: Arc<Ending>,
    sockets: Vec<TcpStream>,
    network: Option<CommsGuard>,
}

impl Drop for MeshGuard {
    fn drop(&mut self) {
        self.ending.set();
        for socket in &self.sockets {
            // One that is broken is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        let network = self.network.take();
        if catch_unwind(AssertUnwindSafe(|| drop(network))).is_err() {
            log::error!("a network thread of a mesh that has ended had panicked");
        }
    }
}

/// Whether an epoch is over, for threads that wait for it.
#[derive(Default)]
struct Ending {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Ending {
    fn set(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn is_set(&self) -> bool {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(over, |over| !*over));
    }
}

/// A socket that never breaks before the eyes of timely's threads.
struct MeshStream {
    socket: TcpStream,
    remote: usize,
    ending: Arc<Ending>,
    reports: Arc<dyn Reports>,
    frames: Frames,
}

impl MeshStream {
    fn broke(&self, error: io::Error) {
        if !self.ending.is_set() {
            let what = format!("the connection to process {} broke", self.remote);
            self.reports.fail(Error::retry(what).because(error));
        }
    }
}

impl Read for MeshStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.frames.made_up {
            return Ok(self.frames.make_up(out));
        }
        match self.socket.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Ok(read) if read > 0 => {
                self.frames.passed(&out[..read]);
                Ok(read)
            }
            _ if self.frames.ended => Ok(0),
            end => {
                self.broke(end.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
                self.ending.wait();
                self.frames.made_up = true;
                Ok(self.frames.make_up(out))
            }
        }
    }
}

impl Write for MeshStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Ok(written) if written > 0 => Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            end => {
                self.broke(end.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()));
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for MeshStream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(MeshStream {
            socket: self.socket.try_clone()?,
            remote: self.remote,
            ending: self.ending.clone(),
            reports: self.reports.clone(),
            frames: Frames::default(),
        })
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // One that is broken is closed already.
        let _ = self.socket.shutdown(how);
        Ok(())
    }
}

/// Bytes of timely's message header: six numbers of eight bytes, the length of what follows in the fifth.
const HEADER_BYTES: usize = 48;

/// Where in timely's messages a stream is: headers, each with its payload; a header without one is the last.
struct Frames {
    header: [u8; HEADER_BYTES],
    have: usize,
    payload_left: u64,
    ended: bool,
    made_up: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Frames { header: [0; HEADER_BYTES], have: 0, payload_left: 0, ended: false, made_up: false }
    }
}

impl Frames {
    fn passed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.ended {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.have));
            self.header[self.have..][..now.len()].copy_from_slice(now);
            self.have += now.len();
            bytes = later;
            if self.have == HEADER_BYTES {
                self.have = 0;
                let length =
                    self.header[32..40].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
                self.payload_left = length;
                self.ended = length == 0;
            }
        }
    }

    /// Fills `out` with zeros up to the end of the message the stream is in, then with a last header. Zeros that end a
    /// header cut short name no more workers, and no more bytes, than the header would have.
    fn make_up(&mut self, out: &mut [u8]) -> usize {
        if self.ended {
            return 0;
        }
        let missing =
            if self.payload_left > 0 { self.payload_left } else { (HEADER_BYTES - self.have) as u64 };
        let made_up = missing.min(out.len() as u64) as usize;
        out[..made_up].fill(0);
        self.passed(&out[..made_up]);
        made_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::communication::networking::MessageHeader;

    fn stream(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for length in lengths {
            let header = MessageHeader {
                channel: 1,
                source: 2,
                target_lower: 3,
                target_upper: 4,
                length: *length,
                seqno: 5,
            };
            header.write_to(&mut bytes).unwrap();
            bytes.resize(bytes.len() + length, 0xee);
        }
        bytes
    }

    #[test]
    fn the_end_of_a_stream_is_known_however_it_is_cut_into_reads() {
        let bytes = stream(&[7, 300, 1, 0]);
        for size in [1, 5, 47, 48, 49, 1000] {
            let mut frames = Frames::default();
            for chunk in bytes[..bytes.len() - 1].chunks(size) {
                frames.passed(chunk);
            }
            assert!(!frames.ended, "reads of {size}");
            frames.passed(&bytes[bytes.len() - 1..]);
            assert!(frames.ended, "reads of {size}");
        }
    }

    #[test]
    fn a_stream_broken_anywhere_is_made_up_to_whole_messages_and_an_end() {
        let bytes = stream(&[7, 300, 1]);
        for cut in 0..=bytes.len() {
            let mut frames = Frames::default();
            frames.passed(&bytes[..cut]);
            let (mut whole, mut out) = (bytes[..cut].to_vec(), [0xff; 29]);
            loop {
                let made_up = frames.make_up(&mut out);
                if made_up == 0 {
                    break;
                }
                whole.extend_from_slice(&out[..made_up]);
            }
            // As timely reads it.
            let mut left = &whole[..];
            let end = loop {
                let header = MessageHeader::try_read(left).expect("whole messages");
                left = &left[header.required_bytes()..];
                assert!(header.target_upper <= 4 && header.length <= 300, "cut at {cut}");
                if header.length == 0 {
                    break header;
                }
            };
            assert_eq!((end.length, left.len()), (0, 0), "cut at {cut}");
        }
    }
}
