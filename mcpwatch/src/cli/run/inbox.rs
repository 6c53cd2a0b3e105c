//! What comes to the pipeline's thread: events out of the ring buffer, and what other threads tell it. It reads the ring
//! buffer itself: a thread for that would be woken as often, and wake this one each time. While it is busy the ring
//! buffer is the reserve, and the kernel counts what does not fit.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::kernel::ring::Ring;
use crate::pipeline::Input;

/// Messages that wait for the thread.
const MESSAGES: usize = 8;
/// Most of what was found around processes that waits for it.
const FINDINGS: usize = 256;
/// Most bytes of configurations among it: users decide how much there is to be read.
const TEXT_BYTES: usize = 16 << 20;
/// How long events may wait while there are any: a part of the 10 ms from system call to alert.
const BUSY: Duration = Duration::from_millis(7);
/// How long the first one after a silence may wait. The kernel wakes the thread for what is urgent.
const IDLE: Duration = Duration::from_millis(20);
/// How long an event in the making is left alone, and how often: whoever makes it may be waiting for a processor.
const MAKING: Duration = Duration::from_millis(1);
const TRIES: u32 = 50;
/// How often it is looked for events at the end of a run without finding any.
const LAST_LOOKS: u32 = 3;
/// The silence.
const SILENCE: Duration = Duration::from_secs(1);

/// What the pipeline's thread is told.
pub enum Message {
    /// Anything for the pipeline.
    Input(Box<Input>),
    /// The run is to end, for this reason.
    Stop(String),
    /// Open the event files again, for log rotation.
    Reopen,
}

/// Interrupts the thread's waiting.
#[derive(Clone)]
struct Bell(Arc<OwnedFd>);

impl Bell {
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    fn ring(&self) {
        // Fails when it was rung as often as it can count, which takes longer than any run.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// Where other threads leave messages.
#[derive(Clone)]
pub struct Post {
    messages: SyncSender<Message>,
    bell: Bell,
}

impl Post {
    /// Waits while there is no room. The thread is gone when this fails.
    pub fn send(&self, message: Message) -> Result<(), SendError<Message>> {
        self.messages.send(message)?;
        self.bell.ring();
        Ok(())
    }
}

/// Where what was found around processes is left. It is taken before events and messages that wait: a server has its
/// name from there, and is waited for so long only.
pub struct Findings {
    found: SyncSender<Input>,
    room: Arc<Room>,
    bell: Bell,
}

/// Nobody takes anything any more.
#[derive(Debug)]
pub struct Disconnected;

impl Findings {
    /// With the end of it for the thread.
    fn new(bell: Bell) -> (Self, Found) {
        let (sender, receiver) = sync_channel(FINDINGS);
        let room = Arc::new(Room::default());
        let found = Found { found: receiver, room: Arc::clone(&room) };
        (Self { found: sender, room, bell }, found)
    }

    /// Waits while there is no room. The thread is gone when this fails.
    pub fn send(&self, input: Input) -> Result<(), Disconnected> {
        if !self.room.enter(text_bytes(&input)) {
            return Err(Disconnected);
        }
        self.found.send(input).map_err(|_| Disconnected)?;
        self.bell.ring();
        Ok(())
    }
}

/// What was found, on the side of the thread.
struct Found {
    found: Receiver<Input>,
    room: Arc<Room>,
}

impl Found {
    fn take(&self) -> Option<Input> {
        let input = self.found.try_recv().ok()?;
        self.room.leave(text_bytes(&input));
        Some(input)
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        self.room.close();
    }
}

/// The bytes of a configuration's text. Anything else is small, and bounded by number.
fn text_bytes(input: &Input) -> usize {
    if let Input::Config(file) = input { file.text.capacity() } else { 0 }
}

/// Room for texts that wait.
#[derive(Default)]
struct Room {
    texts: Mutex<Texts>,
    changed: Condvar,
}

#[derive(Default)]
struct Texts {
    bytes: usize,
    /// Nobody takes them out any more.
    closed: bool,
}

impl Room {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for so many bytes: one text has room in any case. False when nobody takes it out.
    fn enter(&self, bytes: usize) -> bool {
        let is_full = |texts: &mut Texts| {
            !texts.closed && texts.bytes > 0 && texts.bytes.saturating_add(bytes) > TEXT_BYTES
        };
        let texts = self.changed.wait_while(self.texts(), is_full);
        let mut texts = texts.unwrap_or_else(PoisonError::into_inner);
        texts.bytes = texts.bytes.saturating_add(bytes);
        !texts.closed
    }

    fn leave(&self, bytes: usize) {
        if bytes > 0 {
            let mut texts = self.texts();
            texts.bytes = texts.bytes.saturating_sub(bytes);
            drop(texts);
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        self.texts().closed = true;
        self.changed.notify_all();
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// The kernel side, for an event that is not to wait, or because the buffer fills up.
    Ring,
    /// Another thread.
    Bell,
    /// Nobody.
    Time,
}

/// Waits for either. Both count when they wake somebody, and not again while there is still something to be read: that
/// there are events is no reason to be woken.
struct Waiter {
    wakes: OwnedFd,
}

impl Waiter {
    const RING: u64 = 0;
    const BELL: u64 = 1;

    fn new(ring: &impl AsFd, bell: &Bell) -> io::Result<Self> {
        let wakes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&wakes, ring, EventData::new_u64(Self::RING), flags)?;
        epoll::add(&wakes, &*bell.0, EventData::new_u64(Self::BELL), flags)?;
        Ok(Self { wakes })
    }

    fn wait(&self, most: Duration) -> io::Result<Woken> {
        let most = Timespec::try_from(most).map_err(|_| Errno::INVAL)?;
        let nothing = epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [nothing; 2];
        let count = match epoll::wait(&self.wakes, &mut events[..], Some(&most)) {
            // As after SIGCONT: a wait cut short.
            Err(Errno::INTR) => 0,
            result => result?,
        };
        let mut came = events.iter().take(count).map(|event| {
            let data = event.data;
            data.u64()
        });
        Ok(match (count, came.any(|which| which == Self::RING)) {
            (0, _) => Woken::Time,
            (_, true) => Woken::Ring,
            (_, false) => Woken::Bell,
        })
    }
}

/// All of it, on the side of the thread.
pub struct Inbox {
    ring: Ring,
    /// Events, back to back.
    batch: Vec<u8>,
    /// There may be more events than the batch had room for.
    more: bool,
    messages: Receiver<Message>,
    found: Found,
    waiter: Waiter,
    /// The kernel side woke the thread for an event that was not there yet: how often it is still looked for.
    making: u32,
    /// When there were events last.
    last: Instant,
}

impl Inbox {
    /// With the ends of it for other threads.
    pub fn new(ring: Ring) -> io::Result<(Self, Post, Findings)> {
        let bell = Bell::new()?;
        let (post, messages) = sync_channel(MESSAGES);
        let (findings, found) = Findings::new(bell.clone());
        let inbox = Self {
            waiter: Waiter::new(&ring, &bell)?,
            ring,
            batch: Vec::new(),
            more: false,
            messages,
            found,
            making: 0,
            last: Instant::now(),
        };
        Ok((inbox, Post { messages: post, bell }, findings))
    }

    /// Events that wait, in the order they were captured, back to back; `None` when there are none.
    pub fn events(&mut self) -> Option<&[u8]> {
        self.more = self.ring.read(&mut self.batch);
        if self.batch.is_empty() {
            return None;
        }
        self.making = 0;
        self.last = Instant::now();
        Some(&self.batch)
    }

    /// The same, when nothing is added any more but by those who have begun to; `None` once they must be done.
    pub fn last_events(&mut self) -> Option<&[u8]> {
        for _ in 0..LAST_LOOKS {
            if self.events().is_some() {
                return Some(&self.batch);
            }
            std::thread::sleep(MAKING);
        }
        None
    }

    /// The next message that waits.
    pub fn message(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// The next that was found around processes.
    pub fn found(&self) -> Option<Input> {
        self.found.take()
    }

    /// Waits for something to come, or until it is time to look.
    pub fn wait(&mut self) -> io::Result<()> {
        if self.more {
            return Ok(());
        }
        if let Some(tries) = self.making.checked_sub(1) {
            // Nobody wakes the thread for it again, and whoever does must not do so before it is made.
            self.making = tries;
            std::thread::sleep(MAKING);
            return Ok(());
        }
        let most = if self.last.elapsed() < SILENCE { BUSY } else { IDLE };
        if self.waiter.wait(most)? == Woken::Ring {
            self.making = TRIES;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::discover::locations::Format;
    use crate::discover::scan::ConfigFile;

    #[test]
    fn a_wait_is_ended_by_each_wake_and_not_by_what_is_there() {
        const LONG: Duration = Duration::from_mins(10);
        // Another one stands for the ring buffer.
        let (ring, bell) = (Bell::new().unwrap(), Bell::new().unwrap());
        let waiter = Waiter::new(&*ring.0, &bell).unwrap();
        assert_eq!(waiter.wait(Duration::ZERO).unwrap(), Woken::Time);
        for _ in 0..3 {
            ring.ring();
            assert_eq!(waiter.wait(LONG).unwrap(), Woken::Ring);
            assert_eq!(waiter.wait(Duration::ZERO).unwrap(), Woken::Time, "it was told");
            bell.ring();
            assert_eq!(waiter.wait(LONG).unwrap(), Woken::Bell);
            assert_eq!(waiter.wait(Duration::ZERO).unwrap(), Woken::Time, "it was told");
        }
        bell.ring();
        ring.ring();
        assert_eq!(waiter.wait(LONG).unwrap(), Woken::Ring);
        assert_eq!(waiter.wait(Duration::ZERO).unwrap(), Woken::Time, "both were");
        let from_elsewhere = bell.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || from_elsewhere.ring());
            assert_eq!(waiter.wait(LONG).unwrap(), Woken::Bell);
        });
    }

    fn config(bytes: usize) -> Input {
        Input::Config(ConfigFile {
            path: "/home/me/.cursor/mcp.json".into(),
            client: "cursor".into(),
            owner: "1000".into(),
            format: Format::Json,
            keys: Vec::new(),
            text: vec![0; bytes],
        })
    }

    #[test]
    fn configurations_wait_in_bounded_size() {
        const TEXT: usize = 4 << 20;
        const ROOM: usize = TEXT_BYTES / TEXT;
        const ALL: usize = 64;
        let (findings, found) = Findings::new(Bell::new().unwrap());
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ALL {
                    findings.send(config(TEXT)).unwrap();
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
            let mut taken = 0;
            while taken < ALL {
                let waiting = sent.load(Ordering::SeqCst).saturating_sub(taken);
                assert!(waiting <= ROOM, "{waiting}");
                // Slowly, so that it fills up.
                std::thread::sleep(Duration::from_millis(1));
                taken += usize::from(found.take().is_some());
            }
        });
        assert_eq!(found.room.texts().bytes, 0);
        findings.send(config(2 * TEXT_BYTES)).unwrap();
        assert!(found.take().is_some(), "alone, any text has room");
    }

    #[test]
    fn who_waits_for_room_is_told_when_the_thread_is_gone() {
        let (findings, found) = Findings::new(Bell::new().unwrap());
        findings.send(config(TEXT_BYTES)).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| findings.send(config(1)).is_err());
            std::thread::sleep(Duration::from_millis(10));
            drop(found);
            assert!(waiting.join().unwrap());
        });
        assert!(findings.send(Input::Tick { time: 1 }).is_err());
    }

    #[test]
    fn a_bell_that_was_rung_as_often_as_it_counts_does_not_hold_up_anybody() {
        let bell = Bell::new().unwrap();
        let waiter = Waiter::new(&*Bell::new().unwrap().0, &bell).unwrap();
        rustix::io::write(&*bell.0, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        assert_eq!(waiter.wait(Duration::ZERO).unwrap(), Woken::Bell);
        bell.ring();
    }
}
