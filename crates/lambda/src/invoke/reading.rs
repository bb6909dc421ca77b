//! What reads the output of one start of an environment.
//!
//! Its life: made when the environment is there, driven by a task of its own, and driven once more
//! at the end of each invocation ([`Reading::drain`]), so that what was printed before the answer is
//! read by then. It is over when every writer is gone, or when the environment is over
//! ([`Attached`] is dropped): a process that escaped its end may keep the pipe open for ever.
//!
//! Who keeps whom: the environment and the task keep the reading, the reading keeps its output and
//! the recorder, and the recorder only knows of the reading. So nothing keeps itself, and the output
//! is closed even if the task never runs. A start that is repeated has a reading of its own, and a
//! task drives no other one.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;

/// See the module.
pub(super) struct Reading {
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` once it is over.
    work: Option<BoxFuture<'static, ()>>,
    /// Of the task, once it has run.
    waker: Option<Waker>,
}

/// The environment is there; dropped when it is over.
pub struct Attached(Arc<Reading>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Reading {
    /// Work that ends with the output. It is done by the task that [`Reading::task`] is for.
    pub(super) fn new(work: BoxFuture<'static, ()>) -> Arc<Reading> {
        Arc::new(Reading { inner: Mutex::new(Inner { work: Some(work), waker: None }) })
    }

    /// Ends the reading with the environment.
    pub(super) fn attached(self: &Arc<Reading>) -> Attached {
        Attached(self.clone())
    }

    /// Drives this reading until it is over.
    pub(super) fn task(self: Arc<Reading>) -> impl Future<Output = ()> + Send + 'static {
        poll_fn(move |context| {
            let mut inner = self.lock();
            inner.waker = Some(context.waker().clone());
            inner.poll()
        })
    }

    /// Reads what is there now.
    pub(super) fn drain(&self) {
        let mut inner = self.lock();
        // The end that is found here is one that the task will not be woken for.
        if inner.work.is_some() && inner.poll().is_ready() {
            inner.wake();
        }
    }

    /// Reads what is there now, and no more.
    fn close(&self) {
        let mut inner = self.lock();
        let _ = inner.poll();
        let work = inner.work.take();
        inner.wake();
        drop(inner);
        drop(work);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whoever drives it, it is the task that is woken when there is more.
    fn poll(&mut self) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        let waker = self.waker.as_ref().unwrap_or(Waker::noop());
        let polled = work.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Setup {
        reading: Arc<Reading>,
        output: Option<mpsc::UnboundedSender<()>>,
        read: Arc<AtomicUsize>,
        woken: Arc<Woken>,
    }

    fn setup() -> Setup {
        let (output, mut receiver) = mpsc::unbounded_channel();
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        let work = async move {
            while receiver.recv().await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let reading = Reading::new(work.boxed());
        Setup { reading, output: Some(output), read, woken: Arc::default() }
    }

    impl Setup {
        fn print(&self) {
            self.output.as_ref().unwrap().send(()).unwrap();
        }

        fn read(&self) -> usize {
            self.read.load(Ordering::SeqCst)
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::SeqCst)
        }

        fn poll(&self, task: &mut (impl Future<Output = ()> + Unpin)) -> Poll<()> {
            let waker = Waker::from(self.woken.clone());
            task.poll_unpin(&mut Context::from_waker(&waker))
        }
    }

    #[test]
    fn the_task_goes_on_after_a_drain_and_ends_after_an_end_that_a_drain_found() {
        let mut setup = setup();
        let mut task = Box::pin(setup.reading.clone().task());
        setup.print();
        setup.reading.drain();
        assert_eq!(setup.read(), 1, "drained before the task ran at all");
        assert!(setup.poll(&mut task).is_pending());
        setup.print();
        assert_eq!(setup.woken(), 1);
        setup.reading.drain();
        assert_eq!(setup.read(), 2);
        setup.print();
        assert_eq!(setup.woken(), 2, "the drain has registered the task, not itself");
        setup.output = None;
        setup.reading.drain();
        assert_eq!(setup.read(), 3);
        assert!(setup.woken() > 2, "nobody else tells the task of the end");
        assert!(setup.poll(&mut task).is_ready());
        drop(task);
        assert_eq!(Arc::strong_count(&setup.reading), 1, "nothing keeps the reading");
    }

    #[test]
    fn the_end_of_the_environment_ends_it_though_the_output_stays_open() {
        let setup = setup();
        let attached = setup.reading.attached();
        let mut task = Box::pin(setup.reading.clone().task());
        assert!(setup.poll(&mut task).is_pending());
        setup.print();
        drop(attached);
        assert_eq!(setup.read(), 1, "what was printed is read");
        assert!(setup.output.as_ref().unwrap().is_closed());
        assert!(setup.woken() > 0 && setup.poll(&mut task).is_ready());
    }

    #[test]
    fn a_task_that_never_ran_leaves_nothing_open() {
        let setup = setup();
        let attached = setup.reading.attached();
        drop(setup.reading.clone().task());
        drop(attached);
        assert!(setup.output.as_ref().unwrap().is_closed());
    }
}
