//! What is particular about each storage class (S3 user guide, "Understanding and managing Amazon S3 storage classes" and
//! "Transitioning objects using Amazon S3 Lifecycle").

use cairn_storage::object::StorageClass;

/// What a rule's owner should know of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassProperties {
    /// Its objects are restored before they can be read.
    pub archive: bool,
    /// How warm it is: rules move objects only to a class of a greater number.
    pub coldness: u8,
}

/// The properties of a class.
#[must_use]
pub fn properties(class: StorageClass) -> ClassProperties {
    let coldness = match class {
        StorageClass::Standard | StorageClass::ReducedRedundancy | StorageClass::ExpressOnezone => 0,
        StorageClass::StandardIa => 1,
        StorageClass::IntelligentTiering => 2,
        StorageClass::OnezoneIa => 3,
        StorageClass::GlacierIr => 4,
        StorageClass::Glacier => 5,
        StorageClass::DeepArchive => 6,
    };
    ClassProperties { archive: class.needs_restore(), coldness }
}

/// Whether a rule may name the class as a target.
#[must_use]
pub fn is_target(class: StorageClass) -> bool {
    properties(class).coldness > 0
}

/// Whether rules move objects from one class to the other: down the waterfall of the user guide, in which ONEZONE_IA does
/// not lead to GLACIER_IR.
#[must_use]
pub fn moves_to(from: StorageClass, to: StorageClass) -> bool {
    let skipped = from == StorageClass::OnezoneIa && to == StorageClass::GlacierIr;
    properties(from).coldness < properties(to).coldness && !skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_only_ever_get_colder() {
        for from in StorageClass::ALL {
            for to in StorageClass::ALL {
                assert!(!(moves_to(from, to) && moves_to(to, from)), "{from:?} {to:?}");
                assert!(is_target(to) || !moves_to(from, to), "{from:?} {to:?}");
            }
        }
        assert!(moves_to(StorageClass::Standard, StorageClass::DeepArchive));
        assert!(moves_to(StorageClass::Glacier, StorageClass::DeepArchive));
        assert!(!moves_to(StorageClass::OnezoneIa, StorageClass::GlacierIr));
        assert!(!moves_to(StorageClass::DeepArchive, StorageClass::Glacier));
    }
}
