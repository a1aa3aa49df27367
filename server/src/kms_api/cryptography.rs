//! Encrypting and decrypting under keys, data keys, and random bytes.

use cairn_crypto::kms::{BLOB_BYTES_MAX, EncryptionContext, KmsBlob, PLAINTEXT_BYTES_MAX};
use cairn_crypto::secret::random_bytes;
use cairn_crypto::wrap::WrapError;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::kms::permission::Deed;
use crate::kms::{Found, KeyRef, KmsError, KmsFault, parse_blob};

use super::ask::{Ask, Blob, Context, base64, bounded, bounded_length, dry};
use super::not_here;

pub(super) const ACTIONS: &[&str] =
    &["Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateRandom", "ReEncrypt"];

/// The one algorithm that is here.
const ALGORITHM: &str = "SYMMETRIC_DEFAULT";

/// Bytes of a data key, or of random bytes (KMS API reference, GenerateDataKey).
const RANDOM_BYTES: (i64, i64) = (1, 1_024);

/// Grant tokens in a call at most. They are not needed: a grant counts as soon as it is made.
const GRANT_TOKENS_MAX: usize = 10;

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "Decrypt" => decrypt(ask).await,
        "Encrypt" => encrypt(ask).await,
        "GenerateDataKey" => generate_data_key(ask, true).await,
        "GenerateDataKeyWithoutPlaintext" => generate_data_key(ask, false).await,
        "GenerateRandom" => generate_random(ask),
        "ReEncrypt" => re_encrypt(ask).await,
        _ => Err(ask.misrouted()),
    }
}

/// What all of these calls can say.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Common {
    encryption_algorithm: Option<String>,
    #[serde(default)]
    grant_tokens: Vec<String>,
    dry_run: Option<bool>,
    recipient: Option<Value>,
}

impl Common {
    fn check(&self) -> Result<(), KmsError> {
        check_algorithm(self.encryption_algorithm.as_deref())?;
        bounded_length("grantTokens", self.grant_tokens.len(), (0, GRANT_TOKENS_MAX))?;
        if self.recipient.is_some() { Err(not_here("An attested recipient")) } else { Ok(()) }
    }
}

fn check_algorithm(algorithm: Option<&str>) -> Result<(), KmsError> {
    match algorithm {
        None | Some(ALGORITHM) => Ok(()),
        Some("RSAES_OAEP_SHA_1" | "RSAES_OAEP_SHA_256" | "SM2PKE") => {
            Err(KmsError::fault(KmsFault::InvalidKeyUsage, "The algorithm is not one of a symmetric encryption key."))
        }
        Some(_) => Err(KmsError::validation(format!(
            "1 validation error detected: Value at 'encryptionAlgorithm' failed to satisfy constraint: Member must satisfy \
             enum value set: [{ALGORITHM}]"
        ))),
    }
}

/// The key that is named, if this may be done with it now.
fn usable(ask: &Ask, key: &KeyRef, mut deed: Deed<'_>) -> Result<Found, KmsError> {
    deed.request_alias(key);
    let found = ask.allowed(key, &deed)?;
    found.key.usable()?;
    Ok(found)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt {
    key_id: String,
    plaintext: Blob,
    #[serde(default)]
    encryption_context: Context,
    #[serde(flatten)]
    common: Common,
}

async fn encrypt(ask: &Ask) -> Result<Value, KmsError> {
    let Encrypt { key_id, plaintext, encryption_context, common } = ask.input()?;
    common.check()?;
    bounded_length("plaintext", plaintext.0.len(), (1, PLAINTEXT_BYTES_MAX))?;
    let context = encryption_context.checked()?;
    let found = usable(ask, &KeyRef::parse(&key_id)?, Deed { context: Some(&context), ..Deed::of("Encrypt") })?;
    dry(common.dry_run)?;
    let blob = ask.kms().encrypt(&found.key, &plaintext.0, &context).await?;
    Ok(json!({ "CiphertextBlob": base64(&blob), "KeyId": found.key.arn, "EncryptionAlgorithm": ALGORITHM }))
}

/// The key of a blob, if this may be done with it now, and if it is the one that the call expects.
fn key_of_blob(ask: &Ask, blob: &KmsBlob<'_>, expected: Option<&str>, mut deed: Deed<'_>) -> Result<Found, KmsError> {
    let found = match expected.map(KeyRef::parse).transpose()? {
        None => ask.kms().find_of_blob(ask.asker(), blob)?,
        Some(key) => {
            deed.request_alias(&key);
            ask.find(&key, deed.action)?
        }
    };
    ask.kms().check(ask.asker(), &found, &deed)?;
    if found.key.name() != blob.key {
        let message = "The key ID in the request does not identify a CMK that can perform this operation.";
        return Err(KmsError::fault(KmsFault::IncorrectKey, message));
    }
    found.key.usable()?;
    Ok(found)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt {
    ciphertext_blob: Blob,
    key_id: Option<String>,
    #[serde(default)]
    encryption_context: Context,
    #[serde(flatten)]
    common: Common,
}

async fn decrypt(ask: &Ask) -> Result<Value, KmsError> {
    let Decrypt { ciphertext_blob, key_id, encryption_context, common } = ask.input()?;
    common.check()?;
    bounded_length("ciphertextBlob", ciphertext_blob.0.len(), (1, BLOB_BYTES_MAX))?;
    let context = encryption_context.checked()?;
    let blob = parse_blob(&ciphertext_blob.0)?;
    let deed = Deed { context: Some(&context), ..Deed::of("Decrypt") };
    let found = key_of_blob(ask, &blob, key_id.as_deref(), deed)?;
    dry(common.dry_run)?;
    let plaintext = ask.kms().open(&found.key, &blob, &context).await?;
    Ok(json!({ "Plaintext": base64(&plaintext), "KeyId": found.key.arn, "EncryptionAlgorithm": ALGORITHM }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReEncrypt {
    ciphertext_blob: Blob,
    #[serde(default)]
    source_encryption_context: Context,
    source_key_id: Option<String>,
    destination_key_id: String,
    #[serde(default)]
    destination_encryption_context: Context,
    source_encryption_algorithm: Option<String>,
    destination_encryption_algorithm: Option<String>,
    dry_run: Option<bool>,
}

async fn re_encrypt(ask: &Ask) -> Result<Value, KmsError> {
    let input: ReEncrypt = ask.input()?;
    check_algorithm(input.source_encryption_algorithm.as_deref())?;
    check_algorithm(input.destination_encryption_algorithm.as_deref())?;
    bounded_length("ciphertextBlob", input.ciphertext_blob.0.len(), (1, BLOB_BYTES_MAX))?;
    let from_context = input.source_encryption_context.checked()?;
    let to_context = input.destination_encryption_context.checked()?;
    let blob = parse_blob(&input.ciphertext_blob.0)?;
    let to_key = KeyRef::parse(&input.destination_key_id)?;
    let same = ask.find(&to_key, "ReEncryptTo")?.key.name() == blob.key;
    let deed = |action, context| {
        let mut deed = Deed { context: Some(context), ..Deed::of(action) };
        deed.keys.one("kms:reencryptonsamekey", same.to_string());
        deed
    };
    let from = key_of_blob(ask, &blob, input.source_key_id.as_deref(), deed("ReEncryptFrom", &from_context))?;
    let to = usable(ask, &to_key, deed("ReEncryptTo", &to_context))?;
    dry(input.dry_run)?;
    let plaintext = ask.kms().open(&from.key, &blob, &from_context).await?;
    let made = ask.kms().encrypt(&to.key, &plaintext, &to_context).await?;
    Ok(json!({
        "CiphertextBlob": base64(&made),
        "SourceKeyId": from.key.arn,
        "KeyId": to.key.arn,
        "SourceEncryptionAlgorithm": ALGORITHM,
        "DestinationEncryptionAlgorithm": ALGORITHM,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GenerateDataKey {
    key_id: String,
    #[serde(default)]
    encryption_context: Context,
    key_spec: Option<String>,
    number_of_bytes: Option<i64>,
    #[serde(flatten)]
    common: Common,
}

impl GenerateDataKey {
    fn bytes(&self) -> Result<usize, KmsError> {
        let bytes = match (self.key_spec.as_deref(), self.number_of_bytes) {
            (Some("AES_256"), None) => 32,
            (Some("AES_128"), None) => 16,
            (None, Some(bytes)) => bounded("numberOfBytes", bytes, RANDOM_BYTES)?,
            (Some("AES_256" | "AES_128"), Some(_)) | (None, None) => {
                return Err(KmsError::validation("Please specify either number of bytes or key spec."));
            }
            (Some(_), _) => {
                return Err(KmsError::validation(
                    "1 validation error detected: Value at 'keySpec' failed to satisfy constraint: Member must satisfy enum \
                     value set: [AES_256, AES_128]",
                ));
            }
        };
        Ok(usize::try_from(bytes).unwrap_or_default())
    }
}

async fn generate_data_key(ask: &Ask, in_plain: bool) -> Result<Value, KmsError> {
    let input: GenerateDataKey = ask.input()?;
    input.common.check()?;
    let bytes = input.bytes()?;
    let context: EncryptionContext = input.encryption_context.checked()?;
    let deed = Deed { context: Some(&context), ..Deed::of(ask.action()) };
    let found = usable(ask, &KeyRef::parse(&input.key_id)?, deed)?;
    dry(input.common.dry_run)?;
    let plaintext = random(bytes)?;
    let blob = ask.kms().encrypt(&found.key, &plaintext, &context).await?;
    let mut answer = json!({ "CiphertextBlob": base64(&blob), "KeyId": found.key.arn });
    if in_plain {
        answer["Plaintext"] = base64(&plaintext);
    }
    Ok(answer)
}

fn random(bytes: usize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    Ok(random_bytes(bytes).map_err(WrapError::from)?)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GenerateRandom {
    number_of_bytes: Option<i64>,
    custom_key_store_id: Option<String>,
    recipient: Option<Value>,
}

fn generate_random(ask: &Ask) -> Result<Value, KmsError> {
    let GenerateRandom { number_of_bytes, custom_key_store_id, recipient } = ask.input()?;
    if custom_key_store_id.is_some() || recipient.is_some() {
        return Err(not_here("A custom key store, or an attested recipient,"));
    }
    let Some(bytes) = number_of_bytes else {
        return Err(KmsError::validation("NumberOfBytes is required."));
    };
    let bytes = bounded("numberOfBytes", bytes, RANDOM_BYTES)?;
    ask.allow_without_key(&Deed::of("GenerateRandom"))?;
    Ok(json!({ "Plaintext": base64(&random(usize::try_from(bytes).unwrap_or_default())?) }))
}
