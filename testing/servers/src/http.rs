//! Just enough HTTP to ask a server on loopback whether it is ready.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(3);

/// The status and the body of an answer; none while there is no server, or none that answers within 3 seconds.
///
/// The request is of HTTP 1.0, which has the server close the connection after a body that is not cut into chunks.
pub(crate) fn call(method: &str, port: u16, path: &str) -> Option<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream.set_write_timeout(Some(LIMIT)).ok()?;
    let head = "Content-Type: application/json\r\nContent-Length: 0\r\nConnection: close";
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{head}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno\r\n\r\nway").unwrap();
            String::from_utf8(request).unwrap()
        });
        assert_eq!(call("GET", port, "/x?y=z"), Some((404, "no\r\n\r\nway".to_owned())));
        assert!(server.join().unwrap().starts_with("GET /x?y=z HTTP/1.0\r\n"));
        assert_eq!(call("GET", port, "/x"), None, "nobody listens any more");
    }
}
