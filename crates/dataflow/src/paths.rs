//! Which inputs lead to which outputs, and through which states: for telling what a job promises. Nothing here changes a graph.

use crate::graph::{Graph, Used};
use std::collections::HashSet;
use std::sync::Arc;
use tidegate_core::{OutputId, StateId, StreamId};

/// Records of an input are in an output, or in what is made of them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPath {
    /// The input.
    pub input: StreamId,
    /// The output.
    pub output: OutputId,
    /// The states between them, in the order in which they were built.
    pub states: Vec<StateId>,
}

/// Operators, told apart by where they are in memory: the graph keeps them there.
type Operators = HashSet<*const Used>;

impl Graph {
    /// Every path from an input to an output, in the order of inputs and outputs.
    pub fn paths(&self) -> Vec<DataPath> {
        let outputs: Vec<_> = self.outputs().into_iter().map(|door| (door.id, above(&door.used))).collect();
        let states: Vec<_> =
            self.shared().states().used().into_iter().map(|state| (state.uid(), state.operator())).collect();
        let states: Vec<_> =
            states.iter().map(|(uid, operator)| (uid, Arc::as_ptr(operator), above(operator))).collect();
        let mut paths = Vec::new();
        for input in self.used_inputs() {
            let from = Arc::as_ptr(&input.used);
            for (output, operators) in outputs.iter().filter(|(_, operators)| operators.contains(&from)) {
                let between = states
                    .iter()
                    .filter(|(_, state, above)| operators.contains(state) && above.contains(&from))
                    .map(|(uid, ..)| (*uid).clone());
                let states = between.collect();
                paths.push(DataPath { input: input.stream.clone(), output: output.clone(), states });
            }
        }
        paths
    }
}

/// `operator` and all that lead to it.
fn above(operator: &Arc<Used>) -> Operators {
    let (mut found, mut waiting) = (Operators::new(), vec![operator]);
    while let Some(operator) = waiting.pop() {
        if found.insert(Arc::as_ptr(operator)) {
            waiting.extend(operator.parents());
        }
    }
    found
}
