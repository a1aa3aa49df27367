//! What a session token says, and making and reading tokens.
//!
//! A token is `base64url(seal(format (u8) = 1 | CBOR map))`, sealed by `cairn_crypto::session` for its access key, whose
//! beginning tells a temporary key from others. Nothing is kept of a session: what it may do follows from whom it belongs to,
//! as long as they are there, and from what its token says.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cairn_crypto::secret::{EntropyError, MasterKey, SecretString};
use cairn_crypto::session::SessionKey;
use cairn_storage::clock::{Entropy, Timestamp};
use minicbor::{Decode, Encode};

/// How the access keys of sessions begin, and no others.
pub const ACCESS_KEY_PREFIX: &str = "ASIA";

const ACCESS_KEY_RANDOM_CHARS: usize = 16;
const ACCESS_KEY_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The longest token that is looked at. The longest that is made has policies and tags of
/// [`PACKED_BYTES_MAX`], and perhaps 2 KiB of names and claims.
pub const TOKEN_CHARS_MAX: usize = 12 * 1024;

/// The most that session policies and tags may take of a token.
pub const PACKED_BYTES_MAX: usize = 4 * 1024;

const FORMAT: u8 = 1;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Whose {
    /// A role's, that somebody has assumed.
    #[n(0)]
    Role {
        /// The role's account.
        #[n(0)]
        account: u64,
        /// `AROA...`
        #[n(1)]
        role_id: String,
        /// Its name.
        #[n(2)]
        role: String,
        /// What who assumed it calls the session.
        #[n(3)]
        session_name: String,
    },
    /// A user's, of GetSessionToken.
    #[n(1)]
    User {
        /// The user's account.
        #[n(0)]
        account: u64,
        /// `AIDA...`
        #[n(1)]
        user_id: String,
    },
    /// A root's, of GetSessionToken.
    #[n(2)]
    Root {
        /// The account.
        #[n(0)]
        account: u64,
    },
    /// Of somebody for whom a user, or a root, asked GetFederationToken.
    #[n(3)]
    Federated {
        /// The account.
        #[n(0)]
        account: u64,
        /// Who asked; None: the root.
        #[n(1)]
        user_id: Option<String>,
        /// What they call the session's holder.
        #[n(2)]
        name: String,
    },
}

/// What a provider of identities said of who assumed a role.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Federation {
    /// The ARN of the provider: `aws:FederatedProvider`.
    #[n(0)]
    pub provider: String,
    /// Condition keys in lower case, such as `issuer.example:sub`, and their values.
    #[n(1)]
    pub claims: Vec<(String, Vec<String>)>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Session {
    /// Whose it is.
    #[n(0)]
    pub whose: Whose,
    /// Since when: `aws:TokenIssueTime`, milliseconds since 1970.
    #[n(1)]
    pub issued_at_ms: i64,
    /// Until when, exclusively.
    #[n(2)]
    pub expires_at_ms: i64,
    /// The access key of the user or root that asked for it; it ends with that key.
    #[n(3)]
    pub parent_access_key: Option<String>,
    /// The session policy that was given in full.
    #[n(4)]
    pub policy: Option<String>,
    /// The managed policies that were given as session policies.
    #[n(5)]
    #[cbor(default)]
    pub policy_arns: Vec<String>,
    /// Session tags.
    #[n(6)]
    #[cbor(default)]
    pub tags: Vec<(String, String)>,
    /// The keys of the tags that sessions have which are made by this one.
    #[n(7)]
    #[cbor(default)]
    pub transitive_tag_keys: Vec<String>,
    /// `sts:SourceIdentity`, which every session made by this one has, too.
    #[n(8)]
    pub source_identity: Option<String>,
    /// When a code of an MFA device was given.
    #[n(9)]
    pub mfa_at_ms: Option<i64>,
    /// The provider of identities that vouched.
    #[n(10)]
    pub federation: Option<Federation>,
}

impl Session {
    /// A session that nothing bounds and nothing more is said of.
    pub fn new(whose: Whose, issued_at_ms: i64, expires_at_ms: i64) -> Self {
        Self {
            whose,
            issued_at_ms,
            expires_at_ms,
            parent_access_key: None,
            policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tag_keys: Vec::new(),
            source_identity: None,
            mfa_at_ms: None,
            federation: None,
        }
    }

    /// The number of its account.
    pub fn account(&self) -> u64 {
        match &self.whose {
            Whose::Role { account, .. }
            | Whose::User { account, .. }
            | Whose::Root { account }
            | Whose::Federated { account, .. } => *account,
        }
    }

    /// Session policies bound what it may do.
    pub fn has_policies(&self) -> bool {
        self.policy.is_some() || !self.policy_arns.is_empty()
    }

    /// Bytes of policies and tags.
    pub fn packed_bytes(&self) -> usize {
        let policies = self.policy.iter().chain(&self.policy_arns).map(String::len);
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len());
        policies.chain(tags).chain(self.transitive_tag_keys.iter().map(String::len)).sum()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        // Writing to a Vec cannot fail.
        let _ = minicbor::encode(self, &mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, TokenError> {
        let cbor = bytes.strip_prefix(&[FORMAT]).ok_or(TokenError::Invalid)?;
        minicbor::decode(cbor).map_err(|_| TokenError::Invalid)
    }
}

/// What is handed out.
#[derive(Debug)]
pub struct Credentials {
    /// `ASIA...`
    pub access_key: String,
    /// Its secret.
    pub secret_key: SecretString,
    /// The token.
    pub token: String,
    /// Until when they are good.
    pub expires_at: Timestamp,
}

/// Why a token is good for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none, or of another access key or server.
    #[error("the token is no token of this access key and server")]
    Invalid,
    /// It was one.
    #[error("the token has expired")]
    Expired,
}

/// Makes and reads tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<SessionKey>);

impl Sessions {
    /// Of a server with this master key.
    pub fn new(master_key: &MasterKey) -> Self {
        Self(Arc::new(SessionKey::new(master_key)))
    }

    /// Credentials for a session.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn issue(&self, session: &Session, entropy: &dyn Entropy) -> Result<Credentials, EntropyError> {
        let access_key = new_access_key(entropy);
        let token = URL_SAFE_NO_PAD.encode(self.0.seal(&access_key, &session.encode())?);
        let secret_key = self.0.secret(&access_key);
        Ok(Credentials { access_key, secret_key, token, expires_at: Timestamp(session.expires_at_ms) })
    }

    /// The secret of a temporary access key. It says nothing about whether the key was ever issued: only its token does.
    pub fn secret(&self, access_key: &str) -> Option<SecretString> {
        is_temporary(access_key).then(|| self.0.secret(access_key))
    }

    /// The session of an access key and a token that come together.
    ///
    /// # Errors
    /// If the token is not this key's, or has expired.
    pub fn open(&self, access_key: &str, token: &str, now: Timestamp) -> Result<Session, TokenError> {
        if !is_temporary(access_key) || token.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::Invalid);
        }
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Invalid)?;
        let bytes = self.0.open(access_key, &sealed).map_err(|_| TokenError::Invalid)?;
        let session = Session::decode(&bytes)?;
        if session.expires_at_ms <= now.0 { Err(TokenError::Expired) } else { Ok(session) }
    }
}

/// Whether an access key is one of a session.
pub fn is_temporary(access_key: &str) -> bool {
    access_key.starts_with(ACCESS_KEY_PREFIX)
}

fn new_access_key(entropy: &dyn Entropy) -> String {
    // Five bits of each byte are one character.
    let chars = entropy.random_16().map(|byte| char::from(ACCESS_KEY_ALPHABET[usize::from(byte & 31)]));
    ACCESS_KEY_PREFIX.chars().chain(chars.into_iter().take(ACCESS_KEY_RANDOM_CHARS)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::secret::KEY_BYTES;
    use cairn_storage::clock::SystemEntropy;

    use super::*;

    fn sessions(byte: u8) -> Sessions {
        Sessions::new(&MasterKey::from_bytes([byte; KEY_BYTES]))
    }

    fn session() -> Session {
        Session {
            whose: Whose::Role {
                account: 42,
                role_id: "AROAX".to_owned(),
                role: "r".to_owned(),
                session_name: "job".to_owned(),
            },
            issued_at_ms: 1_000,
            expires_at_ms: 2_000,
            parent_access_key: Some("AKIAX".to_owned()),
            policy: Some("{}".to_owned()),
            policy_arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()],
            tags: vec![("team".to_owned(), "red".to_owned())],
            transitive_tag_keys: vec!["team".to_owned()],
            source_identity: Some("anna".to_owned()),
            mfa_at_ms: Some(500),
            federation: Some(Federation {
                provider: "arn:aws:iam::000000000042:oidc-provider/issuer.example".to_owned(),
                claims: vec![("issuer.example:sub".to_owned(), vec!["x".to_owned()])],
            }),
        }
    }

    #[test]
    fn a_token_says_what_the_session_is() {
        let whose = [
            session().whose,
            Whose::User { account: 1, user_id: "AIDAX".to_owned() },
            Whose::Root { account: 999_999_999_999 },
            Whose::Federated { account: 1, user_id: None, name: "guest".to_owned() },
        ];
        for whose in whose {
            let session = Session { whose, ..session() };
            let credentials = sessions(1).issue(&session, &SystemEntropy).unwrap();
            assert_eq!(credentials.access_key.len(), 20);
            assert!(is_temporary(&credentials.access_key));
            let opened = sessions(1).open(&credentials.access_key, &credentials.token, Timestamp(1_999));
            assert_eq!(opened.unwrap(), session);
            assert_eq!(sessions(1).secret(&credentials.access_key).unwrap(), credentials.secret_key);
        }
    }

    #[test]
    fn a_token_ends() {
        let credentials = sessions(1).issue(&session(), &SystemEntropy).unwrap();
        let opened = sessions(1).open(&credentials.access_key, &credentials.token, Timestamp(2_000));
        assert_eq!(opened, Err(TokenError::Expired));
    }

    #[test]
    fn a_token_of_another_key_or_server_or_none_is_invalid() {
        let ours = sessions(1).issue(&session(), &SystemEntropy).unwrap();
        let other = sessions(1).issue(&session(), &SystemEntropy).unwrap();
        let foreign = sessions(2).issue(&session(), &SystemEntropy).unwrap();
        let open = |access_key: &str, token: &str| sessions(1).open(access_key, token, Timestamp(1_500));
        let long = "x".repeat(TOKEN_CHARS_MAX + 1);
        for (access_key, token) in [
            (&ours.access_key, other.token.as_str()),
            (&foreign.access_key, &foreign.token),
            (&ours.access_key, &ours.token[1..]),
            (&ours.access_key, &format!("{}A", ours.token)),
            (&ours.access_key, ""),
            (&ours.access_key, "not base64!"),
            (&ours.access_key, &long),
            (&"AKIAIOSFODNN7EXAMPLE".to_owned(), &ours.token),
        ] {
            assert_eq!(open(access_key, token), Err(TokenError::Invalid), "{access_key} {token}");
        }
    }

    #[test]
    fn the_largest_session_fits_in_a_token() {
        let session =
            Session { policy: Some("x".repeat(PACKED_BYTES_MAX)), source_identity: Some("s".repeat(64)), ..session() };
        let credentials = sessions(1).issue(&session, &SystemEntropy).unwrap();
        assert!(credentials.token.len() <= TOKEN_CHARS_MAX / 2, "{}", credentials.token.len());
    }

    #[test]
    fn a_token_of_format_1_without_what_came_later_is_read() {
        // {0: Root {account: 42}, 1: 1000, 2: 2000}
        let bytes = hex::decode("01a300820281182a011903e8021907d0").unwrap();
        assert_eq!(Session::decode(&bytes), Ok(Session::new(Whose::Root { account: 42 }, 1_000, 2_000)));
        assert_eq!(Session::decode(&[2, 0xa0]), Err(TokenError::Invalid));
    }

    #[test]
    fn only_temporary_keys_have_derived_secrets() {
        assert!(sessions(1).secret("AKIAIOSFODNN7EXAMPLE").is_none());
        assert!(sessions(1).secret("").is_none());
    }
}
