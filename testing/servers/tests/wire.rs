//! A way to a server that is cut: what the server hears, and what its client.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use tidegate_servers::wire::{Lost, Wire};

/// A server that answers each line with the same one, and tells what it got.
fn echo(got: Sender<String>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let got = got.clone();
            thread::spawn(move || {
                for line in BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok) {
                    let _ = got.send(line.clone());
                    let _ = writeln!(&client, "{line}");
                }
            });
        }
    });
    address
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn of(wire: &Wire) -> Client {
        Client(BufReader::new(TcpStream::connect(wire.address()).unwrap()))
    }

    /// What is answered; nothing when the connection is cut.
    fn ask(&mut self, line: &str) -> Option<String> {
        writeln!(self.0.get_mut(), "{line}").ok()?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).ok().filter(|read| *read > 0)?;
        Some(answer.trim_end().to_owned())
    }
}

fn asks(wire: &Wire, line: &str) -> Option<String> {
    Client::of(wire).ask(line)
}

fn has(what: &'static str) -> impl FnMut(&[u8]) -> bool {
    move |request| request.windows(what.len()).any(|part| part == what.as_bytes())
}

#[test]
fn a_cut_ends_all_connections_and_none_is_made_until_it_is_open() {
    let (got, _heard) = channel();
    let wire = Wire::to(&echo(got.clone()));
    let (mut one, mut two) = (Client::of(&wire), Client::of(&wire));
    assert_eq!((one.ask("ebb"), two.ask("flow")), (Some("ebb".to_owned()), Some("flow".to_owned())));
    wire.cut();
    assert_eq!((one.ask("ebb"), two.ask("flow"), asks(&wire, "ebb")), (None, None, None));
    assert!(!wire.is_open());
    wire.open();
    assert_eq!(asks(&wire, "ebb").unwrap(), "ebb");
    wire.open_to(&echo(got));
    assert_eq!(asks(&wire, "flow").unwrap(), "flow");
}

#[test]
fn a_lost_request_is_not_heard_and_a_lost_answer_is() {
    let (got, heard) = channel();
    let wire = Wire::to(&echo(got));
    let mut client = Client::of(&wire);
    wire.cut_at(has("commit"), Lost::Request, 0);
    assert_eq!(client.ask("begin").unwrap(), "begin");
    assert_eq!((wire.cuts(), wire.is_open()), (0, false));
    assert_eq!(client.ask("commit 1"), None);
    assert_eq!((wire.cuts(), wire.is_open()), (1, true));
    let mut client = Client::of(&wire);
    wire.cut_at(has("commit"), Lost::Answer(|answer| answer.ends_with(b"\n")), 2);
    assert_eq!(client.ask("commit 2"), None);
    assert_eq!([asks(&wire, "1"), asks(&wire, "2"), asks(&wire, "3")], [None, None, Some("3".into())]);
    assert_eq!(wire.cuts(), 2);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["begin", "commit 2", "3"]);
}

#[test]
fn it_is_cut_after_just_so_many_bytes() {
    let (got, heard) = channel();
    let wire = Wire::to(&echo(got));
    wire.cut_once_after(10);
    assert_eq!(asks(&wire, "1234").unwrap(), "1234");
    assert_eq!(asks(&wire, "6789012"), None);
    assert_eq!(asks(&wire, "on").unwrap(), "on");
    wire.cut_after(0);
    assert_eq!((asks(&wire, "off"), asks(&wire, "off"), wire.cuts()), (None, None, 2));
    let heard: Vec<String> = heard.try_iter().filter(|line| line != "67890").collect();
    assert_eq!(heard, ["1234", "on"]);
}

#[test]
fn what_is_called_at_a_request_is_over_before_the_server_has_it() {
    let (got, heard) = channel();
    let wire = Wire::to(&echo(got.clone()));
    wire.call_at(has("commit"), move || got.send("called".to_owned()).unwrap());
    let mut client = Client::of(&wire);
    assert_eq!((client.ask("begin"), client.ask("commit")), (Some("begin".into()), Some("commit".into())));
    assert_eq!(client.ask("commit").unwrap(), "commit");
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["begin", "called", "commit", "commit"]);
}
