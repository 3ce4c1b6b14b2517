//! A file of HDFS that is written aside, piece by piece, and published by a rename.

use super::slowed::slowed;
use super::{Folder, REPORT_PAUSE, failed};
use crate::blocking::Blocking;
use crate::{ANSWER_LIMIT, limit};
use hdfs_native::file::FileWriter;
use std::sync::Arc;
use tidegate_core::{Error, Result, StagedObject};

/// See [`tidegate_core::Storage::stage`].
pub(super) struct HdfsStaged {
    folder: Folder,
    blocking: Arc<Blocking>,
    path: String,
    aside: String,
    /// Until it is closed, or a call has failed.
    writer: Option<FileWriter>,
    published: bool,
}

impl HdfsStaged {
    pub(super) fn begin(folder: &Folder, blocking: &Arc<Blocking>, path: &str) -> Result<HdfsStaged> {
        let mut staged = HdfsStaged {
            folder: folder.clone(),
            blocking: blocking.clone(),
            path: path.to_owned(),
            aside: folder.aside(),
            writer: None,
            published: false,
        };
        let (folder, aside, place) = (folder.clone(), staged.aside.clone(), folder.place(path));
        let writer = blocking.run(&place.clone(), ANSWER_LIMIT, async move {
            let created = folder.create(&aside).await;
            created.map_err(|e| failed(&place, "can't be put", e))
        })?;
        staged.writer = Some(writer);
        Ok(staged)
    }

    fn writer(&mut self) -> Result<FileWriter> {
        let place = self.folder.place(&self.path);
        self.writer.take().ok_or_else(|| Error::bug(format!("{place}: it is closed, or a call has failed")))
    }
}

impl StagedObject for HdfsStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let (mut writer, bytes) = (self.writer()?, Vec::from(bytes));
        let place = self.folder.place(&self.path);
        let writer = self.blocking.run(&place.clone(), limit(bytes.len() as u64), async move {
            match writer.write_bytes(bytes.into()).await {
                Ok(_) => Ok(writer),
                Err(e) => Err(failed(&place, "can't be put", e)),
            }
        })?;
        self.writer = Some(writer);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let mut writer = self.writer()?;
        let place = self.folder.place(&self.path);
        self.blocking.run(&place.clone(), ANSWER_LIMIT, async move {
            // On the disks of its DataNodes, which closing alone does not ask for.
            let closed = match writer.hsync().await {
                Ok(()) => slowed(writer.close(), REPORT_PAUSE).await,
                Err(e) => Err(e),
            };
            closed.map_err(|e| failed(&place, "can't be put", e))
        })
    }

    fn publish(&mut self) -> Result<()> {
        let (folder, aside, path) = (self.folder.clone(), self.aside.clone(), self.path.clone());
        let place = folder.place(&path);
        self.blocking.run(&place.clone(), ANSWER_LIMIT, async move {
            let published = folder.publish(&aside, &path, true).await;
            published.map(drop).map_err(|e| failed(&place, "can't be put", e))
        })?;
        self.published = true;
        Ok(())
    }
}

impl Drop for HdfsStaged {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let (folder, aside, writer) = (self.folder.clone(), self.aside.clone(), self.writer.take());
        // Nobody waits for it. One that can't be removed now is a leftover.
        drop(self.blocking.spawn(async move {
            drop(writer);
            let _ = folder.client.delete(&aside, false).await;
        }));
    }
}
