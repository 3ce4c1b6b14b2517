//! A function of the job failed: what was in flight is run once more, slowly, to say on which record.

use super::{Driver, Event};
use tidegate_core::{Error, ErrorKind, Result, RuntimeEvent};

impl Driver {
    /// The error to end the job with: what a careful epoch says of the failure `first`, or `first` itself when that epoch
    /// does not fail in a function of the job, or the job is asked to stop. Nothing is committed meanwhile.
    pub(super) fn find_record(&mut self, first: Error) -> Error {
        if self.flights.is_empty() || self.stopping.is_some() {
            return first;
        }
        log::warn!("{first}; running the batch again, slowly, to find the record");
        match self.run_carefully() {
            Err(found) if found.kind() == ErrorKind::UserCode => found,
            Err(other) => {
                log::warn!("the record was not found: {other}");
                first
            }
            Ok(()) => first,
        }
    }

    /// Runs all that is planned and not committed; ends with what fails, or without an error after the last batch.
    fn run_carefully(&mut self) -> Result<()> {
        self.start_epoch(true)?;
        let Some(last) = self.rerun.back().map(|plan| plan.id) else { return Ok(()) };
        self.hand_out_carefully();
        while let Ok(event) = self.received.recv() {
            match event {
                Event::Stop(how) => {
                    self.stopping = Some(how);
                    return Ok(());
                }
                Event::Runtime(epoch, RuntimeEvent::Failed(error)) if epoch == self.epoch => {
                    return Err(error);
                }
                Event::Runtime(epoch, RuntimeEvent::Processed(report)) if epoch == self.epoch => {
                    if report.batch == last {
                        return Ok(());
                    }
                    self.hand_out_carefully();
                }
                Event::Runtime(..) | Event::ClockMoved | Event::Background => {}
            }
        }
        Ok(())
    }

    fn hand_out_carefully(&mut self) {
        if let Some(plan) = self.rerun.pop_front() {
            self.hand_to_workers(&plan.into());
        }
    }
}
