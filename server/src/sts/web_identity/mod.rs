//! Web identities: ID tokens of OpenID Connect, from the providers that an account has registered in IAM.

pub mod issuers;
pub mod token;
