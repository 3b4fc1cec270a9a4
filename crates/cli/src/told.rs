//! What a document of OpenShift tells: the objects in it, and image streams among them.

pub(crate) mod documents;
pub(crate) mod stream;
