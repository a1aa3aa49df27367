//! Replication: which versions are copied to which targets, the task that carries one there, and the outgoing S3 client.
//!
//! Empty for now. A task will join the commit that made it necessary through the `Planner` of `cairn-storage`.
