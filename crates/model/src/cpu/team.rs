//! The threads that compute one forward pass together.

use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IndexedParallelIterator, ParallelIterator},
    slice::ParallelSliceMut,
};

use crate::{Error, Result};

/// Threads that share the work of one forward pass. Who does which piece never changes a result.
#[derive(Debug)]
pub(crate) struct Team {
    pool: Option<ThreadPool>,
}

impl Team {
    /// A team of `threads`; a team of one has no threads of its own.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        if threads <= 1 {
            return Ok(Self { pool: None });
        }
        let name = |index| format!("potstill-{index}");
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build();
        pool.map(|pool| Self { pool: Some(pool) }).map_err(|error| Error::Generate(format!("{threads} threads cannot be started: {error}")))
    }

    /// Threads of the team.
    pub(crate) fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `work` as one of the team, so that the pieces inside start without a hand-over.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `work` with every piece of `chunk` elements and its index.
    pub(crate) fn pieces<T: Send>(&self, data: &mut [T], chunk: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
        if self.pool.is_none() || data.len() <= chunk {
            data.chunks_mut(chunk).enumerate().for_each(|(index, piece)| work(index, piece));
        } else {
            data.par_chunks_mut(chunk).enumerate().for_each(|(index, piece)| work(index, piece));
        }
    }
}
