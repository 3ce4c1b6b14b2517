//! From a request to its answer. What can be refused by the head is refused before the body is read.

use crate::answer::Answer;
use crate::options::HttpOptions;
use crate::records::{BadLine, Format};
use crate::server::{Ended, Serve};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use hyper::{HeaderMap, Method, Request};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tidegate::core::{Error, ErrorKind};
use tidegate::{Position, ReceiverHandle, Stored};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Answers whether the stream is there.
pub(crate) const HEALTH: &str = "/health";
/// Bytes in a key or a producer's name at most.
const NAME_BYTES_MAX: usize = 200;
/// When to come back to a stream that works at as many requests as it may.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// What says whether a request was stored before.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    None,
    Key(String),
    Number { producer: String, number: u64 },
}

/// What is to be done about a request.
enum Task {
    Health,
    /// With a place among the requests at work.
    Store(Format, Identity, OwnedSemaphorePermit),
}

pub(crate) async fn answer(serve: &Serve, ended: &Ended, request: Request<Incoming>) -> Answer {
    let done = match task(serve, ended, &request) {
        Ok(Task::Health) => Ok(Answer::up()),
        Ok(Task::Store(format, identity, place)) => {
            take(serve, ended, (format, identity, place), request.into_body()).await
        }
        Err(answer) => Err(turned_away(serve, ended, answer, request)),
    };
    done.unwrap_or_else(|answer| answer)
}

/// Decides by the head alone.
fn task(serve: &Serve, ended: &Ended, request: &Request<Incoming>) -> Result<Task, Answer> {
    let Serve { options, handle, working } = serve;
    let stopping = || ended.is_told() || handle.is_stopped();
    if request.uri().path() == HEALTH {
        return match *request.method() {
            Method::GET if stopping() => Err(Answer::stopping()),
            Method::GET => Ok(Task::Health),
            _ => Err(Answer::wrong_method("GET")),
        };
    }
    let (format, identity) = head(options, request)?;
    if stopping() {
        return Err(Answer::stopping());
    }
    match handle.admits() {
        Ok(Ok(())) => {}
        Ok(Err(busy)) => return Err(Answer::busy(busy.retry_after)),
        Err(error) => return Err(refused(handle, &error)),
    }
    let place = working.clone().try_acquire_owned().map_err(|_| Answer::busy(BUSY_FOR))?;
    Ok(Task::Store(format, identity, place))
}

/// The answer to a request that is refused before its body was read. Where the connection goes on, the body is read meanwhile, within
/// the bounds of any body, and forgotten: a client that is told to come back must not be made to connect again as well.
fn turned_away(serve: &Serve, ended: &Ended, answer: Answer, request: Request<Incoming>) -> Answer {
    if answer.is_last() || request.body().is_end_stream() {
        return answer;
    }
    if request.headers().contains_key(EXPECT) {
        // He sends the body if he is told to, and else the next request or not: nobody can tell.
        return answer.close();
    }
    let (options, ended) = (serve.options.clone(), ended.clone());
    tokio::spawn(async move {
        let mut body = Limited::new(request.into_body(), options.body_bytes_max);
        let forget = async { while let Some(Ok(_)) = body.frame().await {} };
        // A body that is not read to its end, because it is too long or too slow, ends its connection.
        ended.or(timeout(options.body_patience, forget)).await
    });
    answer
}

async fn take(
    serve: &Serve,
    ended: &Ended,
    (format, identity, place): (Format, Identity, OwnedSemaphorePermit),
    body: Incoming,
) -> Result<Answer, Answer> {
    let body = read(&serve.options, ended, body).await?;
    let handle = serve.handle.clone();
    // It goes on when the client is gone, so the place goes with it.
    let work = tokio::task::spawn_blocking(move || {
        let answer = store(&handle, format, &body, identity);
        drop(place);
        answer
    });
    work.await.unwrap_or_else(|_| Err(Answer::failed()))
}

/// All that can be refused before the body is there.
fn head(options: &HttpOptions, request: &Request<Incoming>) -> Result<(Format, Identity), Answer> {
    let headers = request.headers();
    if let Some(token) = &options.token
        && !is_given(token, headers)
    {
        return Err(Answer::no_token());
    }
    if request.uri().path() != options.path {
        return Err(Answer::no_such_path(&options.path));
    }
    if request.method() != Method::POST {
        return Err(Answer::wrong_method("POST"));
    }
    if request.body().size_hint().lower() > options.body_bytes_max as u64 {
        return Err(too_large(options));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Answer::unknown_type("Content-Encoding: send the body as it is"));
    }
    let content_type = text(headers, CONTENT_TYPE.as_str())?;
    let format = Format::of(content_type.as_deref()).map_err(Answer::unknown_type)?;
    let identity = identity(headers)?;
    if identity == Identity::None && options.identity_required {
        return Err(Answer::bad_request(
            "give the request a number (Tidegate-Producer, Tidegate-Sequence) or a key (Idempotency-Key), so that it can be repeated",
        ));
    }
    Ok((format, identity))
}

/// Compares in a time that does not tell how much of a token is right.
fn is_given(token: &str, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.ct_eq(token.as_bytes()))
    })
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Answer> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(text) if values.next().is_none() => Ok(Some(text.trim().to_owned())),
        _ => Err(Answer::bad_request(format!("{name}: must be there once, in visible ASCII characters"))),
    }
}

fn identity(headers: &HeaderMap) -> Result<Identity, Answer> {
    let short = |name: &str, value: String| match value.len() {
        1..=NAME_BYTES_MAX => Ok(value),
        _ => Err(Answer::bad_request(format!("{name}: must have 1 to {NAME_BYTES_MAX} characters"))),
    };
    let (key, producer) = (text(headers, "Idempotency-Key")?, text(headers, "Tidegate-Producer")?);
    match (key, producer, text(headers, "Tidegate-Sequence")?) {
        (None, None, None) => Ok(Identity::None),
        (Some(key), None, None) => Ok(Identity::Key(short("Idempotency-Key", key)?)),
        (None, Some(producer), Some(number)) => {
            let producer = short("Tidegate-Producer", producer)?;
            // A number has one after it, always.
            let number = number.parse().ok().filter(|number| *number < u64::MAX);
            let number = number
                .ok_or_else(|| Answer::bad_request("Tidegate-Sequence: must be a whole number from 0 on"))?;
            Ok(Identity::Number { producer, number })
        }
        _ => Err(Answer::bad_request(
            "give either Idempotency-Key, or Tidegate-Producer and Tidegate-Sequence, or none of them",
        )),
    }
}

/// Waits for the body, within its bounds.
async fn read(options: &HttpOptions, ended: &Ended, body: Incoming) -> Result<Bytes, Answer> {
    let body = Limited::new(body, options.body_bytes_max).collect();
    match ended.or(timeout(options.body_patience, body)).await {
        None => Err(Answer::stopping()),
        Some(Err(_)) => Err(Answer::too_slow()),
        Some(Ok(Ok(body))) => Ok(body.to_bytes()),
        Some(Ok(Err(error))) if error.is::<LengthLimitError>() => Err(too_large(options)),
        Some(Ok(Err(_))) => Err(Answer::bad_request("the body broke off; nothing is stored")),
    }
}

/// Waits until the records are stored.
fn store(
    handle: &ReceiverHandle<String>,
    format: Format,
    body: &[u8],
    identity: Identity,
) -> Result<Answer, Answer> {
    let records = format.records(body).map_err(|BadLine { line, why }| Answer::bad_line(line, &why))?;
    let (count, most) = (records.len(), handle.block_bytes_max());
    // As it is stored, each record has its length before it: seven bits of it in a byte.
    let length_bytes = |length: usize| (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize;
    let bytes: usize = records.iter().map(|record| record.len() + length_bytes(record.len())).sum();
    if bytes > most {
        return Err(Answer::too_large(format!(
            "the records take {bytes} bytes as stored, at most {most} are taken at once (tidegate.receiver.block_bytes_max); \
             send them in several requests"
        )));
    }
    let stream = handle.stream();
    let stored = match identity {
        Identity::None if count == 0 => Ok(Stored::New),
        Identity::None => handle.store_many(records).map(|()| Stored::New),
        Identity::Key(key) => handle.store_once(records, &format!("http/{stream}/{key}")),
        Identity::Number { producer, number } => {
            handle.store_at(records, Position::next_of(format!("http/{stream}/{producer}"), number))
        }
    };
    match stored {
        Ok(Stored::New) => Ok(Answer::stored(count)),
        Ok(Stored::Before) => Ok(Answer::duplicate()),
        Ok(Stored::Gap(expected)) => Err(Answer::gap(expected)),
        Ok(Stored::Partly(until)) => {
            let what = format!("a request of one number was stored in part, up to {until}");
            handle.fail(Error::bug(what));
            Err(Answer::failed())
        }
        Err(error) => Err(refused(handle, &error)),
    }
}

/// The stream does not store: because it stops, or because it failed.
fn refused(handle: &ReceiverHandle<String>, error: &Error) -> Answer {
    if error.kind() == ErrorKind::Retry {
        return Answer::stopping();
    }
    handle.report_error(&format!("a request is not stored: {error}"));
    Answer::failed()
}

fn too_large(options: &HttpOptions) -> Answer {
    Answer::too_large(format!("at most {} bytes are taken in one request", options.body_bytes_max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), hyper::header::HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_request_goes_by_a_number_or_a_key_or_neither() {
        assert_eq!(identity(&headers(&[])).unwrap(), Identity::None);
        let key = identity(&headers(&[("idempotency-key", "a")])).unwrap();
        assert_eq!(key, Identity::Key("a".to_owned()));
        let number = identity(&headers(&[("tidegate-producer", "p"), ("tidegate-sequence", "7")])).unwrap();
        assert_eq!(number, Identity::Number { producer: "p".to_owned(), number: 7 });
        for wrong in [
            &[("tidegate-producer", "p")][..],
            &[("tidegate-sequence", "1")],
            &[("tidegate-producer", "p"), ("tidegate-sequence", "-1")],
            &[("tidegate-producer", "p"), ("tidegate-sequence", "18446744073709551615")],
            &[("tidegate-producer", "p"), ("tidegate-sequence", "1"), ("idempotency-key", "a")],
            &[("idempotency-key", "")],
        ] {
            assert!(identity(&headers(wrong)).is_err(), "{wrong:?}");
        }
        let mut twice = headers(&[("idempotency-key", "a")]);
        twice.append("idempotency-key", hyper::header::HeaderValue::from_static("b"));
        assert!(identity(&twice).is_err());
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let given = |value| is_given("secret", &headers(&[("authorization", value)]));
        assert!(given("Bearer secret") && given("bearer secret"));
        for wrong in ["secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Basic secret", ""] {
            assert!(!given(wrong), "{wrong}");
        }
        assert!(!is_given("secret", &HeaderMap::new()));
    }
}
