//! Rights in a Kafka that has an authorizer, given and taken by requests of Kafka's own protocol.
//!
//! The client library of the tests has no call for it, and a program of Kafka's distribution takes seconds for each.

use crate::ServerError;
use crate::error::Tried;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// For a broker to learn of a change.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer to these requests is longer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

const CREATE_ACLS: i16 = 30;
const DESCRIBE_ACLS: i16 = 29;
const DELETE_ACLS: i16 = 31;
/// The newest version without tagged fields.
const VERSION: i16 = 1;

/// One right of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// The name, without `User:`.
    pub user: String,
    /// As Kafka's tools take it: `Read`, `Write`, `Create`, `Describe`, `DescribeConfigs`.
    pub operation: String,
    /// `topic`, `group`, or `transactional-id`.
    pub resource: String,
    /// The name of the resource, or what it begins with.
    pub name: String,
    /// Whether `name` is what names begin with.
    pub prefixed: bool,
}

impl Acl {
    /// Gives the right, at a broker whose port lets this process do so, and returns when the broker goes by it.
    pub fn grant(&self, bootstrap: &str) -> Result<(), ServerError> {
        let mut body = Body::default();
        body.int32(1).int8(self.resource_code()).string(&self.name).int8(self.pattern_code());
        body.string(&self.principal()).string("*").int8(self.operation_code()).int8(ALLOW);
        self.ask(bootstrap, CREATE_ACLS, &body)?;
        self.wait(bootstrap, true)
    }

    /// Takes the right away, and returns when the broker goes by it.
    pub fn revoke(&self, bootstrap: &str) -> Result<(), ServerError> {
        let mut body = Body::default();
        body.int32(1);
        self.filter(&mut body);
        self.ask(bootstrap, DELETE_ACLS, &body)?;
        self.wait(bootstrap, false)
    }

    fn wait(&self, bootstrap: &str, there: bool) -> Result<(), ServerError> {
        let mut body = Body::default();
        self.filter(&mut body);
        let started = Instant::now();
        loop {
            let answer = self.ask(bootstrap, DESCRIBE_ACLS, &body)?;
            // Throttle time, error code, and a message of no length; then how many resources there are rights on.
            let count = answer.get(8..12).map(|bytes| i32::from_be_bytes(bytes.try_into().expect("four")));
            if count.is_some_and(|count| (count > 0) == there) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(self.failed(format!("the broker answers {answer:?}")));
            }
        }
    }

    fn filter(&self, body: &mut Body) {
        body.int8(self.resource_code()).string(&self.name).int8(self.pattern_code());
        body.string(&self.principal()).string("*").int8(self.operation_code()).int8(ALLOW);
    }

    /// The answer without its head.
    fn ask(&self, bootstrap: &str, api: i16, body: &Body) -> Result<Vec<u8>, ServerError> {
        let asked = || format!("{self:?} at {bootstrap}");
        let mut head = Body::default();
        head.int16(api).int16(VERSION).int32(7).string("tests");
        let length = i32::try_from(head.0.len() + body.0.len()).expect("a short request");
        let mut stream = TcpStream::connect(bootstrap).tried(asked)?;
        stream.set_read_timeout(Some(PATIENCE)).tried(asked)?;
        stream
            .write_all(&[&length.to_be_bytes(), head.0.as_slice(), body.0.as_slice()].concat())
            .tried(asked)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length).tried(asked)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(8..ANSWER_BYTES_MAX).contains(&length) {
            return Err(self.failed(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).tried(asked)?;
        let answer = answer.split_off(4);
        // An error code comes after the throttle time, or after it and the number of results.
        let code = if api == DESCRIBE_ACLS { answer.get(4..6) } else { answer.get(8..10) };
        match code {
            Some([0, 0]) => Ok(answer),
            _ => Err(self.failed(format!("the broker answers {answer:?}"))),
        }
    }

    fn failed(&self, cause: String) -> ServerError {
        ServerError::Client { what: format!("{self:?}"), cause }
    }

    fn principal(&self) -> String {
        format!("User:{}", self.user)
    }

    fn pattern_code(&self) -> i8 {
        if self.prefixed { 4 } else { 3 }
    }

    fn resource_code(&self) -> i8 {
        code("resource", &self.resource, &[("topic", 2), ("group", 3), ("transactional-id", 5)])
    }

    fn operation_code(&self) -> i8 {
        let codes = [("Read", 3), ("Write", 4), ("Create", 5), ("Describe", 8), ("DescribeConfigs", 10)];
        code("operation", &self.operation, &codes)
    }
}

const ALLOW: i8 = 3;

fn code(what: &str, name: &str, codes: &[(&str, i8)]) -> i8 {
    let found = codes.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} is no {what} of the tests; there are {codes:?}")).1
}

/// The fields of a request, one after the other.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn int8(&mut self, number: i8) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn int16(&mut self, number: i16) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn int32(&mut self, number: i32) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn string(&mut self, text: &str) -> &mut Self {
        self.int16(i16::try_from(text.len()).expect("a short name"));
        self.0.extend(text.as_bytes());
        self
    }
}
