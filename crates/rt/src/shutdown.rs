//! The signal to stop: one sender, any number of listeners, never taken back.

use tokio::sync::watch;

/// Asks everything to stop. Cloning it gives another handle to the same signal.
#[derive(Clone, Debug)]
pub struct ShutdownSender {
    sender: watch::Sender<bool>,
}

/// Learns that everything should stop.
#[derive(Clone, Debug)]
pub struct Shutdown {
    receiver: watch::Receiver<bool>,
}

pub(crate) fn channel() -> (ShutdownSender, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownSender { sender }, Shutdown { receiver })
}

impl ShutdownSender {
    /// Asks everything to stop; asking twice is the same as asking once.
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }

    pub(crate) fn subscribe(&self) -> Shutdown {
        Shutdown { receiver: self.sender.subscribe() }
    }
}

impl Shutdown {
    /// Whether the signal has been given.
    pub fn is_requested(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Waits until the signal is given (or until nobody is left who could give it).
    pub async fn requested(&mut self) {
        let _ = self.receiver.wait_for(|stop| *stop).await;
    }
}
