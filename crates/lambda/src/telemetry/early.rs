//! What happened before extensions subscribed: kept for them, within bounds, until nobody can.

use lambic_rt::Timestamp;

use super::delivery::Mailbox;
use super::queue::Dropped;
use super::schema::Event;
use super::subscription::Category;
use crate::invoke::platform_events::PlatformEvent;

/// Events that are kept.
pub(super) const ITEMS_MAX: usize = 1_000;
/// Their bytes.
pub(super) const BYTES_MAX: usize = 256 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Early {
    kept: Vec<Kept>,
    bytes: usize,
    /// Of each category that lost some.
    dropped: Vec<(Category, Dropped)>,
}

enum Kept {
    Platform(Box<PlatformEvent>),
    Line { category: Category, time: Timestamp, text: String, is_json: bool },
}

impl Early {
    /// Keeps the event. The first ones are the ones that stay.
    pub(super) fn keep(&mut self, event: &Event<'_>) {
        let bytes = event.bytes();
        if self.kept.len() >= ITEMS_MAX || self.bytes + bytes > BYTES_MAX {
            self.drop(event.category(), bytes);
            // What is kept has no gaps but at its end.
            self.bytes = BYTES_MAX;
            return;
        }
        self.bytes += bytes;
        self.kept.push(match event {
            Event::Platform(event) => Kept::Platform(Box::new((*event).clone())),
            Event::Line { category, time, text, is_json } => Kept::Line {
                category: *category,
                time: *time,
                text: (*text).to_owned(),
                is_json: *is_json,
            },
        });
    }

    /// Tells a new subscriber, in order.
    pub(super) fn tell(&self, mailbox: &Mailbox) {
        for kept in &self.kept {
            mailbox.put(&match kept {
                Kept::Platform(event) => Event::Platform(event),
                Kept::Line { category, time, text, is_json } => {
                    Event::Line { category: *category, time: *time, text, is_json: *is_json }
                }
            });
        }
        for (category, dropped) in &self.dropped {
            mailbox.put_dropped(*category, *dropped);
        }
    }

    fn drop(&mut self, category: Category, bytes: usize) {
        let known = self.dropped.iter_mut().find(|(known, _)| *known == category);
        match known {
            Some((_, dropped)) => dropped.add(1, bytes as u64),
            None => self.dropped.push((category, Dropped { records: 1, bytes: bytes as u64 })),
        }
    }
}
