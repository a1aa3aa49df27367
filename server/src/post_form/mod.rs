//! Forms that browsers post to a bucket (S3 API reference, "POST Object"): reading them, and who signed what of them.
//!
//! The fields come first and are small; together with all that is around them they have [`PRE_DATA_BYTES_MAX`] bytes. The file
//! comes last and is never held: [`FileBytes`] passes its pieces on as they arrive.
//!
//! A form is signed by its [`policy`], a document that says what its fields may be. So nothing but the fields counts: headers
//! and query of the request are covered by no signature.

mod file;
mod multipart;
pub mod policy;
pub mod signature;

use bytes::Bytes;
use http::StatusCode;
use s3s::S3ErrorCode;

use crate::s3::error::Failure;

pub use file::{FileBytes, FileError};
pub use multipart::boundary;

/// The most that comes before the file's bytes (API reference, POST Object: "the form data and boundaries (excluding the
/// contents of the file) cannot exceed 20 KB").
pub const PRE_DATA_BYTES_MAX: usize = 20 << 10;

/// What every field's value may hold in place of the file's name.
const FILENAME_VARIABLE: &str = "${filename}";

/// The field whose name marks the file.
const FILE: &str = "file";

/// The fields before the file. Names are compared without regard to case, as S3 does.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field, by its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every field: its name in lower case, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a field that must be there.
    ///
    /// # Errors
    /// `InvalidArgument`, in S3's words.
    pub fn required(&self, name: &'static str) -> Result<&str, Failure> {
        self.get(&name.to_ascii_lowercase()).ok_or_else(|| {
            Failure::invalid_argument(
                name,
                "",
                format!(
                    "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the \
                     fields."
                ),
            )
        })
    }

    /// One value cannot stand for two: a policy might have been held to the other one.
    fn add(&mut self, name: &str, value: String) -> Result<(), Failure> {
        let name = name.to_ascii_lowercase();
        if self.get(&name).is_some() {
            return Err(Failure::invalid_argument(&name, &value, "The form has a field of this name already."));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Puts the file's name where a field asks for it ("recognized by all form fields"). Conditions are about the result, which
    /// is bounded as what was sent is: a thousand variables and a long name would else be megabytes for as long as the file comes.
    fn expand(&mut self, file_name: &str) -> Result<(), Failure> {
        let mut left_bytes = PRE_DATA_BYTES_MAX;
        for (name, value) in self.0.iter_mut().filter(|(name, _)| !is_of_policy(name)) {
            let variables = value.matches(FILENAME_VARIABLE).count();
            let value_bytes = value.len() - variables * FILENAME_VARIABLE.len() + variables * file_name.len();
            left_bytes = left_bytes.checked_sub(name.len() + value_bytes).ok_or_else(too_much)?;
            if variables > 0 {
                *value = value.replace(FILENAME_VARIABLE, file_name);
            }
        }
        Ok(())
    }
}

/// Whether a field needs no condition in the policy: it is the policy itself, its signature, or for nobody. Checksums, which no
/// signer could know, need none either (as Ceph's s3-tests expect it of S3: `test_post_object_upload_checksum`).
fn is_unconditional(name: &str) -> bool {
    let ignored = ["x-ignore-", "x-amz-checksum-"].iter().any(|prefix| name.starts_with(prefix));
    ignored || is_of_policy(name)
}

fn is_of_policy(name: &str) -> bool {
    matches!(name, "policy" | "signature" | "awsaccesskeyid" | "x-amz-signature")
}

/// A form whose fields have been read.
#[derive(Debug)]
pub struct Form<B> {
    /// The fields.
    pub fields: Fields,
    /// The file's bytes, which have not.
    pub file: FileBytes<B>,
}

impl<B> Form<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads a form's fields.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceeded`; `InvalidArgument` without a file and for a field that is
    /// there twice; and what is wrong with the body.
    pub async fn read(body: B, boundary: &str) -> Result<Self, Failure> {
        let mut reader = multipart::Reader::new(body, boundary);
        let mut fields = Fields::default();
        loop {
            let Some(part) = reader.part().await? else {
                let message = "POST requires exactly one file upload per request.";
                return Err(Failure::invalid_argument(FILE, "0", message));
            };
            if part.name.eq_ignore_ascii_case(FILE) {
                if let Some(file_name) = &part.file_name {
                    fields.expand(base_name(file_name))?;
                }
                return Ok(Self { fields, file: reader.into_file() });
            }
            let value = reader.value().await?;
            fields.add(&part.name, value)?;
        }
    }
}

/// What follows the last slash of a path, of either kind.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The body is no form, or a damaged one.
pub fn malformed() -> Failure {
    Failure::custom(
        "MalformedPOSTRequest",
        StatusCode::BAD_REQUEST,
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

fn too_much() -> Failure {
    Failure::custom(
        "MaxPostPreDataLengthExceeded",
        StatusCode::BAD_REQUEST,
        "Your POST request fields preceeding the upload file was too large.",
    )
    .field("MaxPostPreDataLengthBytes", PRE_DATA_BYTES_MAX.to_string())
}

/// A request whose signature, or policy, is not for it.
fn denied(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::with_message(S3ErrorCode::AccessDenied, message)
}

#[cfg(test)]
mod tests;
