//! What is read from, so that a disk that fails is not taken for a file that ends.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use symphonia::core::errors::Error;
use symphonia::core::io::MediaSource;

use super::mp4;
use super::told::Told;

/// The error that reading has met: some demuxers end silently at it.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps the error, and gives one to pass on in its place.
    fn keep(&self, error: io::Error) -> io::Error {
        let passed = io::Error::other(error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        passed
    }
}

/// Something to read, shared by those who try to make sense of it one after another.
pub(super) struct Source<S> {
    inner: Arc<Mutex<Told<S>>>,
    /// That of the whole file, which may have been cut off.
    length: u64,
    is_seekable: bool,
    failure: Failure,
}

impl<S> Clone for Source<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), failure: self.failure.clone(), ..*self }
    }
}

impl<S: Read + Seek> Source<S> {
    pub(super) fn new(inner: S) -> io::Result<Self> {
        let mut inner = Told::new(inner)?;
        let length = inner.length();
        let length = mp4::whole_length(&mut inner, length)?;
        inner.rewind()?;
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self { inner, length, is_seekable: true, failure: Failure::default() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// The same from its beginning, without the possibility to go elsewhere.
    pub(super) fn forward_only(self) -> Result<Self, Error> {
        self.lock().rewind()?;
        Ok(Self { is_seekable: false, ..self })
    }
}

impl<S> Source<S> {
    fn lock(&self) -> MutexGuard<'_, Told<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Read> Read for Source<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.lock().read(buffer);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => self.failure.keep(error),
        })
    }
}

impl<S: Seek> Seek for Source<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::End(by) => {
                let place =
                    self.length.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
                SeekFrom::Start(place)
            }
            to => to,
        };
        let sought = self.lock().seek(to);
        sought.map_err(|error| match error.kind() {
            // A damaged file points to places before its beginning; the disk is fine.
            io::ErrorKind::InvalidInput => error,
            _ => self.failure.keep(error),
        })
    }
}

impl<S: Read + Seek + Send + Sync> MediaSource for Source<S> {
    fn is_seekable(&self) -> bool {
        self.is_seekable
    }

    fn byte_len(&self) -> Option<u64> {
        self.is_seekable.then_some(self.length)
    }
}
