//! Lifecycle rules and storage classes: when a version moves to another class, is restored, or expires.
//!
//! Empty for now. Storage classes are recorded and returned; a task that carries out a rule will join the commits of
//! `cairn-storage` through its `Planner`, and run on its job queues.
