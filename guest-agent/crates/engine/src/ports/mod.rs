//! What the engine needs of the world, as small traits.
//!
//! Every trait is object-safe and returns [`errdefs::Error`] with Docker's text in it where Docker has one. An in-memory twin of each port
//! for tests goes into `ports::memory`.

pub mod commits;
pub mod containers;
pub mod files;
pub mod host;
pub mod images;
pub mod logging;
pub mod network;
pub mod observe;
pub mod registry;
pub mod rootfs;
pub mod store;
pub mod volumes;
pub mod world;

use tokio::io::{AsyncRead, AsyncWrite};

/// Both directions of a byte stream. Shutting down the writing side ends the other side's input and leaves its output alone.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A boxed [`Duplex`].
pub type ByteStream = Box<dyn Duplex>;

/// A boxed reader.
pub type ByteReader = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// A boxed stream of items.
pub type BoxStream<T> = std::pin::Pin<Box<dyn futures_util::Stream<Item = T> + Send>>;
