//! What Tagtrail says on the wire, generated from `proto/` when this crate is built.
//!
//! The documents are the `.proto` files themselves; everything in [`v1`] carries their comments. Beside it stand the two
//! other things that are said of an event: its [`kind`], and its form in [`json`].

pub mod json;
pub mod kind;

/// Version 1 of the API: the stored [`v1::Event`], the resources people see, and the services.
#[allow(missing_docs, clippy::all, clippy::pedantic)] // Generated. The `.proto` files are where it is documented.
pub mod v1 {
    tonic::include_proto!("tagtrail.v1");

    /// The compiled `.proto` files, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");
}
