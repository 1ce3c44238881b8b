//! Outbox: bytes on their way to one socket, and the Sink through which they leave.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

/// The one way out of the core: a non-blocking socket, or what stands for one in a test.
pub trait Sink: Send + Sync {
    /// Takes over as many bytes as the socket has room for; `WouldBlock` if none.
    ///
    /// May be called by any thread. After `WouldBlock` or a short write the shell calls
    /// [`Channel::handle_writable`](crate::Channel::handle_writable) when there is room again.
    ///
    /// # Errors
    /// Any other error means that the connection is lost; the shell will notice by itself.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Asks the shell to call [`Channel::handle_wake`](crate::Channel::handle_wake) soon.
    fn wake(&self);
}

/// What one connection still has to be sent.
///
/// Small packets are copied into `tail`; a large payload stays a shared slice of its message, so that a
/// thousand subscribers do not hold a thousand copies. An empty outbox owns no memory: its buffer comes
/// from the thread that fills it and goes back to the thread that empties it.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Chunks before `tail`, in order; mostly none.
    chunks: Chunks,
    tail: Vec<u8>,
    /// Bytes held here, those of a flush that is under way included.
    len: usize,
    /// A thread is writing; whoever appends meanwhile leaves the rest to it.
    flushing: bool,
    /// The socket refused bytes; the shell will say when it takes some again.
    blocked: bool,
    /// The shell said so while a flush was under way.
    writable_again: bool,
    /// Nothing may leave yet.
    held: bool,
    /// On some thread's list of outboxes to flush.
    pub(crate) dirty: bool,
}

/// Made for the first chunk: an outbox of small packets has none.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "an empty deque takes 32 bytes, in every outbox")]
struct Chunks(Option<Box<VecDeque<Chunk>>>);

impl Chunks {
    fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|chunks| chunks.is_empty())
    }

    fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.0.iter().flat_map(|chunks| chunks.iter())
    }

    fn front(&self) -> Option<&Chunk> {
        self.0.as_ref()?.front()
    }

    fn front_mut(&mut self) -> Option<&mut Chunk> {
        self.0.as_mut()?.front_mut()
    }

    fn push_back(&mut self, chunk: Chunk) {
        self.0.get_or_insert_default().push_back(chunk);
    }

    fn pop_front(&mut self) {
        self.0.as_mut().map(|chunks| chunks.pop_front());
    }

    /// Appends all of `later`.
    fn append(&mut self, later: Self) {
        match (&mut self.0, later.0) {
            (Some(chunks), Some(mut later)) => chunks.append(&mut later),
            (None, Some(later)) => self.0 = Some(later),
            (_, None) => {}
        }
    }
}

enum Chunk {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Spare buffers of one thread.
#[derive(Default)]
pub(crate) struct BufferPool {
    spare: Vec<Vec<u8>>,
}

const SPARE_BUFFERS: usize = 256;
const SPARE_BUFFER_BYTES: usize = 64 * 1024;
const FIRST_BUFFER_BYTES: usize = 256;

impl BufferPool {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(FIRST_BUFFER_BYTES))
    }

    /// Keeps a buffer for the next outbox; an outsized one is given back to the system.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > SPARE_BUFFER_BYTES {
            return;
        }
        if self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// Everything that one flush takes out of an outbox, to write it without holding the lock.
pub(crate) struct Batch {
    chunks: Chunks,
    tail: Vec<u8>,
    /// Bytes of the first chunk (or of the tail) that are written already.
    written: usize,
    /// Writes that moved data.
    calls: u64,
}

/// What became of a batch.
pub(crate) enum Flushed {
    /// All of it is with the socket.
    Done,
    /// The socket is full; the rest must wait.
    Blocked,
    /// The connection is lost.
    Lost,
}

impl Outbox {
    /// Bytes that wait, including those being written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory it holds; of shared payloads those that wait here.
    pub(crate) fn heap_bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| match chunk {
            Chunk::Owned(bytes) => bytes.capacity(),
            Chunk::Shared(bytes) => bytes.len(),
        };
        self.tail.capacity()
            + self.chunks.iter().map(|c| chunk(c) + size_of::<Chunk>()).sum::<usize>()
    }

    /// True while the socket refuses bytes: whatever waits goes on when the shell says so.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// A buffer to append packets to; the bytes appended must be reported to [`grown`](Self::grown).
    pub(crate) fn buffer(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        &mut self.tail
    }

    /// Accounts for bytes appended to [`buffer`](Self::buffer).
    pub(crate) fn grown(&mut self, bytes: usize) {
        self.len += bytes;
    }

    pub(crate) fn append(&mut self, bytes: &[u8], pool: &mut BufferPool) {
        self.buffer(pool).extend_from_slice(bytes);
        self.grown(bytes.len());
    }

    /// Appends a payload without copying it.
    pub(crate) fn append_shared(&mut self, payload: Bytes) {
        self.len += payload.len();
        if !self.tail.is_empty() {
            self.chunks.push_back(Chunk::Owned(std::mem::take(&mut self.tail)));
        }
        self.chunks.push_back(Chunk::Shared(payload));
    }

    /// Keeps everything back until [`release`](Self::release).
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// What was kept back may leave.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// Takes what waits, unless another thread is writing or the socket is full.
    pub(crate) fn begin_flush(&mut self) -> Option<Batch> {
        self.dirty = false;
        if self.flushing
            || self.blocked
            || self.held
            || (self.tail.is_empty() && self.chunks.is_empty())
        {
            return None;
        }
        self.flushing = true;
        self.writable_again = false;
        Some(Batch {
            chunks: std::mem::take(&mut self.chunks),
            tail: std::mem::take(&mut self.tail),
            written: 0,
            calls: 0,
        })
    }

    /// Puts back what a flush could not write. Returns the next batch if there is something to go on with.
    pub(crate) fn end_flush(
        &mut self,
        mut batch: Batch,
        outcome: &Flushed,
        written: usize,
        pool: &mut BufferPool,
    ) -> Option<Batch> {
        self.flushing = false;
        self.len -= written;
        match outcome {
            Flushed::Done => pool.give(std::mem::take(&mut batch.tail)),
            Flushed::Lost => {
                // Nobody will read it; the shell finds the connection closed.
                *self = Self { flushing: false, blocked: true, ..Self::default() };
                return None;
            }
            Flushed::Blocked => {
                self.put_back(batch);
                if !self.writable_again {
                    self.blocked = true;
                    return None;
                }
            }
        }
        self.begin_flush()
    }

    fn put_back(&mut self, batch: Batch) {
        let Batch { mut chunks, mut tail, written, .. } = batch;
        if let Some(first) = chunks.front_mut() {
            match first {
                Chunk::Owned(bytes) => drop(bytes.drain(..written)),
                Chunk::Shared(bytes) => drop(bytes.split_to(written)),
            }
        } else {
            tail.drain(..written);
        }
        if self.chunks.is_empty() && chunks.is_empty() {
            if !tail.is_empty() {
                tail.extend_from_slice(&self.tail);
                self.tail = tail;
            }
            return;
        }
        if !tail.is_empty() {
            chunks.push_back(Chunk::Owned(tail));
        }
        chunks.append(std::mem::take(&mut self.chunks));
        self.chunks = chunks;
    }

    /// The socket takes bytes again.
    pub(crate) fn set_writable(&mut self) {
        self.blocked = false;
        self.writable_again = true;
    }
}

impl Batch {
    /// Writes until all is gone or the socket refuses. Returns the bytes written.
    pub(crate) fn write(&mut self, sink: &dyn Sink) -> (Flushed, usize) {
        let mut total = 0;
        loop {
            match self.write_once(sink) {
                Ok(None) => return (Flushed::Done, total),
                Ok(Some(n)) => total += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return (Flushed::Blocked, total);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (Flushed::Lost, total),
            }
        }
    }

    /// Writes that moved data so far.
    pub(crate) const fn calls(&self) -> u64 {
        self.calls
    }

    /// One write; `None` if nothing is left.
    fn write_once(&mut self, sink: &dyn Sink) -> io::Result<Option<usize>> {
        let n = if self.chunks.is_empty() {
            if self.written == self.tail.len() {
                return Ok(None);
            }
            sink.try_write(&[IoSlice::new(&self.tail[self.written..])])?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            // A plain write of one slice costs less than a vector of it and nothing.
            let tail = Some(self.tail.as_slice()).filter(|tail| !tail.is_empty());
            let all = self.chunks.iter().map(Chunk::as_slice).chain(tail);
            let mut used = 0;
            for (slot, bytes) in slices.iter_mut().zip(all) {
                let skip = if used == 0 { self.written } else { 0 };
                *slot = IoSlice::new(&bytes[skip..]);
                used += 1;
            }
            sink.try_write(&slices[..used])?
        };
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.calls += 1;
        self.advance(n);
        Ok(Some(n))
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.chunks.front() {
            let left = first.as_slice().len() - self.written;
            if n < left {
                break;
            }
            n -= left;
            self.written = 0;
            self.chunks.pop_front();
        }
        self.written += n;
    }
}

/// Slices of one vectored write.
const SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Takes `room` bytes, then refuses.
    struct Narrow {
        room: Mutex<usize>,
        got: Mutex<Vec<u8>>,
    }

    impl Sink for Narrow {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut room = self.room.lock();
            let mut n = 0;
            for slice in slices {
                let take = slice.len().min(*room);
                self.got.lock().extend_from_slice(&slice[..take]);
                *room -= take;
                n += take;
            }
            if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
        }
        fn wake(&self) {}
    }

    fn flush(outbox: &mut Outbox, sink: &Narrow, pool: &mut BufferPool) {
        let mut next = outbox.begin_flush();
        while let Some(mut batch) = next {
            let (outcome, written) = batch.write(sink);
            next = outbox.end_flush(batch, &outcome, written, pool);
        }
    }

    #[test]
    fn order_survives_any_short_write_and_appends_between() {
        for room in 1..40 {
            let sink = Narrow { room: Mutex::new(0), got: Mutex::default() };
            let mut pool = BufferPool::default();
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut rounds = 0;
            while rounds < 6 || !outbox.is_empty() {
                if rounds < 6 {
                    outbox.append(&[rounds; 5], &mut pool);
                    outbox.append_shared(Bytes::from(vec![100 + rounds; 9]));
                    outbox.append(&[200 + rounds; 3], &mut pool);
                    expected.extend(
                        [[rounds; 5].as_slice(), &[100 + rounds; 9], &[200 + rounds; 3]].concat(),
                    );
                }
                rounds += 1;
                *sink.room.lock() = room;
                outbox.set_writable();
                flush(&mut outbox, &sink, &mut pool);
            }
            assert_eq!(*sink.got.lock(), expected, "room {room}");
            assert_eq!(outbox.len(), 0);
        }
    }

    #[test]
    fn a_blocked_outbox_waits_for_the_shell() {
        let sink = Narrow { room: Mutex::new(2), got: Mutex::default() };
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        outbox.append(b"abc", &mut pool);
        flush(&mut outbox, &sink, &mut pool);
        *sink.room.lock() = 10;
        assert!(outbox.begin_flush().is_none(), "not before the shell says so");
        outbox.set_writable();
        flush(&mut outbox, &sink, &mut pool);
        assert_eq!(*sink.got.lock(), b"abc");
    }
}
