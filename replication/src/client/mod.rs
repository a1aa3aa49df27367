//! The outgoing S3 client.
