//! Threads that share the work of single operations.
//!
//! A model normally runs on one thread, and speed comes from one replica per thread. That leaves threads idle where there
//! is one long sequence only, and costs one set of gradients per replica. [`Split::run`] lets the kernels of this crate
//! cut their work into blocks instead. The blocks depend on shapes alone, so that results are the same bits on any number
//! of threads.

use std::{cell::RefCell, sync::Arc};

use rayon::prelude::*;

use crate::{Error, Result};

/// Threads that share the work of single operations.
#[derive(Debug, Clone)]
pub struct Split(Option<Arc<rayon::ThreadPool>>);

thread_local! {
    static CURRENT: RefCell<Option<Split>> = const { RefCell::new(None) };
}

impl Split {
    /// A pool of this many threads; one thread takes the blocks one after the other, without a pool.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(threads: usize) -> Result<Self> {
        if threads <= 1 {
            return Ok(Self(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|at| format!("kernel-{at}")).build();
        pool.map(|pool| Self(Some(Arc::new(pool)))).map_err(|error| Error::Input(format!("{threads} threads cannot be had: {error}")))
    }

    /// Runs `work` on this thread; the kernels it calls share theirs among the pool.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(Some(self.clone()));
        let result = work();
        CURRENT.set(before);
        result
    }

    /// Calls `work(index, part)` for parts of `chunk` elements.
    pub fn chunks_mut<T: Send>(&self, data: &mut [T], chunk: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        match &self.0 {
            Some(pool) => pool.install(|| data.par_chunks_mut(chunk.max(1)).enumerate().for_each(|(at, part)| work(at, part))),
            None => data.chunks_mut(chunk.max(1)).enumerate().for_each(|(at, part)| work(at, part)),
        }
    }

    /// `work(0), work(1), …` in order.
    pub fn map<R: Send>(&self, count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
        match &self.0 {
            Some(pool) => pool.install(|| (0..count).into_par_iter().map(&work).collect()),
            None => (0..count).map(work).collect(),
        }
    }
}

/// The split that this thread runs in, if any.
pub(crate) fn current() -> Option<Split> {
    CURRENT.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_done_once_and_in_order() {
        for threads in [1, 3] {
            let split = Split::new(threads).unwrap();
            let mut data = vec![0_usize; 10];
            split.chunks_mut(&mut data, 4, |at, part| part.iter_mut().for_each(|x| *x += at + 1));
            assert_eq!(data, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
            assert_eq!(split.map(5, |at| at * at), [0, 1, 4, 9, 16]);
            assert!(current().is_none());
            split.run(|| assert!(current().is_some()));
            assert!(current().is_none());
        }
    }
}
