//! The signal to stop: one sender, any number of listeners, never taken back.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct Signal {
    stop: bool,
    /// What broke, if that is why.
    fault: Option<&'static str>,
}

/// Asks everything to stop. Cloning it gives another handle to the same signal.
#[derive(Clone, Debug)]
pub struct ShutdownSender {
    sender: watch::Sender<Signal>,
}

/// Learns that everything should stop.
#[derive(Clone, Debug)]
pub struct Shutdown {
    receiver: watch::Receiver<Signal>,
}

pub(crate) fn channel() -> (ShutdownSender, Shutdown) {
    let (sender, receiver) = watch::channel(Signal::default());
    (ShutdownSender { sender }, Shutdown { receiver })
}

impl ShutdownSender {
    /// Asks everything to stop; asking twice is the same as asking once.
    pub fn stop(&self) {
        self.sender.send_modify(|signal| signal.stop = true);
    }

    /// Asks everything to stop because `what` broke: the name of a task or thread without which
    /// the server cannot go on. The first one is remembered, also when the signal was given
    /// before, so that the program does not end as if all had been well.
    pub fn stop_because(&self, what: &'static str) {
        self.sender.send_modify(|signal| {
            signal.stop = true;
            signal.fault.get_or_insert(what);
        });
    }

    pub(crate) fn subscribe(&self) -> Shutdown {
        Shutdown { receiver: self.sender.subscribe() }
    }
}

impl Shutdown {
    /// Whether the signal has been given.
    pub fn is_requested(&self) -> bool {
        self.receiver.borrow().stop
    }

    /// The name of what broke, if that is why everything stops (or something broke since).
    pub fn fault(&self) -> Option<&'static str> {
        self.receiver.borrow().fault
    }

    /// Waits until the signal is given (or until nobody is left who could give it).
    pub async fn requested(&mut self) {
        let _ = self.receiver.wait_for(|signal| signal.stop).await;
    }
}
