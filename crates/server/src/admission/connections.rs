//! So many connections at the same time. Each takes a file, and a server without files cannot write its log.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::Places;

/// How long nothing is accepted after the operating system had no files for it: to ask again at once would take a whole processor.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection, and its place.
pub(crate) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// Who comes, as long as there are places. Whoever finds none is let go at once.
pub(crate) fn connections(
    listener: TcpListener,
    places: Places,
) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold((listener, places), |(listener, places)| async {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => match places.try_take() {
                    Some(place) => {
                        // An answer is several small writes: held back for the acknowledgement of the first, each would take
                        // 40 ms longer. An error means that the connection is gone already.
                        stream.set_nodelay(true).ok();
                        return Some((Ok(Connection { stream, _place: place }), (listener, places)));
                    }
                    None => {
                        crate::metrics::refused(places.limit);
                        tracing::debug!(%from, "there is no place for another connection");
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
