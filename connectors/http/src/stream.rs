//! The receiver as a stream of a job.

use crate::options::HttpOptions;
use crate::receiver::{Address, HttpReceiver};
use std::net::SocketAddr;
use std::ops::Deref;
use tidegate::core::Result;
use tidegate::{InputDStream, StreamingContext};

/// A stream of the records that clients post: each line, JSON value or CSV record is one, as text.
///
/// ```no_run
/// use tidegate::{Conf, StreamingContext};
/// use tidegate_http::{HttpOptions, create_http_stream};
/// use std::time::Duration;
///
/// # fn main() -> tidegate::Result<()> {
/// let conf = Conf::new().set_app_name("events").set("tidegate.receiver.write_ahead_log.enable", "true");
/// let ssc = StreamingContext::new(conf, Duration::from_secs(1))?;
/// let events = create_http_stream(&ssc, HttpOptions::listen("127.0.0.1:8080").path("/events"))?;
/// events.count().print()?;
/// ssc.checkpoint("checkpoint")?;
/// ssc.start()?;
/// ssc.await_termination()
/// # }
/// ```
///
/// # Errors
/// `Reconfigure`: an option makes no sense or is refused (an address that others can reach needs a token), a certificate can't be
/// read, or the context has a stream of this name (then [`HttpOptions::named`] gives another).
pub fn create_http_stream(ssc: &StreamingContext, options: HttpOptions) -> Result<HttpStream> {
    let name = options.name.clone();
    let receiver = HttpReceiver::new(options)?;
    let address = receiver.address();
    let stream = ssc.named_receiver_stream(&name, receiver).map_err(|error| {
        error
            .context(format!("HTTP stream {name} (a second one needs a name of its own: HttpOptions::named)"))
    })?;
    Ok(HttpStream { stream, address })
}

/// The stream of [`create_http_stream`]: a stream of text.
pub struct HttpStream {
    stream: InputDStream<String>,
    address: Address,
}

impl HttpStream {
    /// The address that is listened on, with the port that was taken for port 0; `None` before the job's start has come so far.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.address.get()
    }
}

impl Deref for HttpStream {
    type Target = InputDStream<String>;

    fn deref(&self) -> &InputDStream<String> {
        &self.stream
    }
}
