//! What a job promises of a record, from each input to each output that it leads to, and why.

use serde::{Deserialize, Serialize};
use std::fmt;
use tidegate_core::{Delivery, Guarantee, InputGuarantee, OutputId, StreamId};
use tidegate_dataflow::{DataPath, Graph};

/// How often a record takes effect, at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathPromise {
    /// Once, whatever happens.
    ExactlyOnce,
    /// It is never lost; a crash can bring it twice.
    AtLeastOnce,
    /// A crash can lose it; it is never there twice.
    AtMostOnce,
    /// A crash can lose it, and can bring it twice.
    Neither,
}

impl PathPromise {
    fn new(may_be_lost: bool, may_be_repeated: bool) -> PathPromise {
        match (may_be_lost, may_be_repeated) {
            (false, false) => PathPromise::ExactlyOnce,
            (false, true) => PathPromise::AtLeastOnce,
            (true, false) => PathPromise::AtMostOnce,
            (true, true) => PathPromise::Neither,
        }
    }

    /// What is left of two promises on one path. Not the weaker of the two: what one may lose and the other repeat may be lost and
    /// repeated.
    #[must_use]
    pub fn and(self, other: PathPromise) -> PathPromise {
        let either = |may: fn(PathPromise) -> bool| may(self) || may(other);
        PathPromise::new(either(PathPromise::may_be_lost), either(PathPromise::may_be_repeated))
    }

    /// Whether a crash can lose a record.
    pub fn may_be_lost(self) -> bool {
        matches!(self, PathPromise::AtMostOnce | PathPromise::Neither)
    }

    /// Whether a crash can bring a record twice.
    pub fn may_be_repeated(self) -> bool {
        matches!(self, PathPromise::AtLeastOnce | PathPromise::Neither)
    }
}

impl From<Guarantee> for PathPromise {
    fn from(guarantee: Guarantee) -> PathPromise {
        match guarantee {
            Guarantee::ExactlyOnce => PathPromise::ExactlyOnce,
            Guarantee::AtLeastOnce => PathPromise::AtLeastOnce,
            Guarantee::AtMostOnce => PathPromise::AtMostOnce,
        }
    }
}

impl fmt::Display for PathPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathPromise::ExactlyOnce => "exactly once",
            PathPromise::AtLeastOnce => "at least once",
            PathPromise::AtMostOnce => "at most once",
            PathPromise::Neither => "neither at least nor at most once: it may be lost, or seen twice",
        })
    }
}

/// One link of a path: a thing that could lose a record or bring it twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is: `input lines (Kafka topic lines at host:9092)`.
    pub what: String,
    /// What it promises.
    pub promise: PathPromise,
    /// Why.
    pub why: String,
}

/// What is promised of the records of one input in one output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathGuarantee {
    /// The input.
    pub input: StreamId,
    /// The output.
    pub output: OutputId,
    /// What all links together promise.
    pub promise: PathPromise,
    /// The input, what remembers the plans of batches, the states between, the output.
    pub links: Vec<Link>,
}

impl PathGuarantee {
    fn over(path: DataPath, links: Vec<Link>) -> PathGuarantee {
        let promise = links.iter().fold(PathPromise::ExactlyOnce, |promise, link| promise.and(link.promise));
        PathGuarantee { input: path.input, output: path.output, promise, links }
    }
}

impl fmt::Display for PathGuarantee {
    /// A line for the path, and one for each link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.input, self.output, self.promise)?;
        let word = |promise| match promise {
            PathPromise::Neither => "neither".to_owned(),
            promise => promise.to_string(),
        };
        self.links
            .iter()
            .try_for_each(|link| write!(f, "\n  {}: {}: {}", link.what, word(link.promise), link.why))
    }
}

/// What the job of `graph` promises on each of its paths.
pub(crate) fn guarantees(graph: &Graph, has_checkpoint: bool) -> Vec<PathGuarantee> {
    let inputs: Vec<_> = graph.inputs().into_iter().zip(graph.input_guarantees()).collect();
    let outputs = graph.outputs();
    let remembers = outputs.iter().find(|output| output.delivery == Delivery::ExactlyOnce);
    let plans = of_plans(has_checkpoint, remembers.map(|output| &output.id));
    let links = |path: DataPath| {
        let input = inputs.iter().find(|((stream, _), _)| *stream == path.input);
        let output = outputs.iter().find(|output| output.id == path.output);
        let mut links = Vec::new();
        links.extend(input.map(|((stream, describe), (_, guarantee))| of_input(stream, describe, guarantee)));
        links.push(plans.clone());
        links.extend(path.states.iter().map(|state| of_state(&state.0, has_checkpoint)));
        links.extend(output.map(|output| of_output(&output.id, &output.describe, output.delivery)));
        PathGuarantee::over(path, links)
    };
    graph.paths().into_iter().map(links).collect()
}

fn of_input(stream: &StreamId, describe: &str, guarantee: &InputGuarantee) -> Link {
    Link {
        what: format!("input {stream} ({describe})"),
        promise: guarantee.guarantee.into(),
        why: guarantee.why.clone(),
    }
}

/// A new process must know which ranges the last batches took.
fn of_plans(has_checkpoint: bool, remembers: Option<&OutputId>) -> Link {
    let (promise, why) = match (has_checkpoint, remembers) {
        (true, _) => {
            (PathPromise::ExactlyOnce, "they are in the journal before anything of their batch is seen".to_owned())
        }
        (false, Some(output)) => {
            (PathPromise::ExactlyOnce, format!("that of the newest batch is stored with the data of output {output}"))
        }
        (false, None) => (
            PathPromise::Neither,
            "nothing remembers them, so a new process begins where its inputs are told to begin; give the job a checkpoint \
             directory"
                .to_owned(),
        ),
    };
    Link { what: "plans of batches".to_owned(), promise, why }
}

fn of_state(uid: &str, has_checkpoint: bool) -> Link {
    let (promise, why) = match has_checkpoint {
        true => (
            PathPromise::ExactlyOnce,
            "each record is in it once: it is had again from a checkpoint and the plans after that",
        ),
        false => (PathPromise::Neither, "the job does not start without a checkpoint directory"),
    };
    Link { what: format!("state {uid}"), promise, why: why.to_owned() }
}

fn of_output(id: &OutputId, describe: &str, delivery: Delivery) -> Link {
    let (promise, why) = match delivery {
        Delivery::ExactlyOnce => (
            PathPromise::ExactlyOnce,
            "it remembers which batches it holds, in one transaction with their data, and leaves them out",
        ),
        Delivery::Idempotent => (
            PathPromise::ExactlyOnce,
            "a batch that is run again writes the same things under the same names, in the place of what is there",
        ),
        Delivery::AtLeastOnce => (
            PathPromise::AtLeastOnce,
            "it does not remember batches: after a crash it may be given the last ones again, under the same numbers",
        ),
    };
    Link { what: format!("output {id} ({describe})"), promise, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_link_may_lose_and_another_repeat_is_neither() {
        use PathPromise::{AtLeastOnce, AtMostOnce, ExactlyOnce, Neither};
        let table = [
            (ExactlyOnce, ExactlyOnce, ExactlyOnce),
            (ExactlyOnce, AtLeastOnce, AtLeastOnce),
            (ExactlyOnce, AtMostOnce, AtMostOnce),
            (AtLeastOnce, AtLeastOnce, AtLeastOnce),
            (AtMostOnce, AtMostOnce, AtMostOnce),
            (AtMostOnce, AtLeastOnce, Neither),
            (ExactlyOnce, Neither, Neither),
            (AtMostOnce, Neither, Neither),
        ];
        for (a, b, both) in table {
            assert_eq!((a.and(b), b.and(a)), (both, both), "{a:?} and {b:?}");
        }
    }
}
