//! Names: what the files in the log's folder are called.

use std::fmt;
use std::path::Path;

/// What a file in the log's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// A segment, or the part of one from an offset on.
    Segment { number: u64, part: u64, offset: u64 },
    /// A file to make a segment of.
    Spare(u64),
    /// A file that was being made when the process ended.
    Unfinished,
}

impl Name {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if name.ends_with(".tmp") {
            return Some(Self::Unfinished);
        }
        let stem = name.strip_suffix(".seg")?;
        let found = if let Some(number) = stem.strip_prefix("spare-") {
            Self::Spare(number.parse().ok()?)
        } else {
            let mut fields = stem.splitn(3, '-');
            let number = fields.next()?.parse().ok()?;
            let part = fields.next().map_or(Ok(0), str::parse).ok()?;
            let offset = fields.next().map_or(Ok(0), str::parse).ok()?;
            Self::Segment { number, part, offset }
        };
        // Only names that we would give: a copy made by hand is no segment.
        (found.to_string() == name).then_some(found)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { number, part: 0, .. } => write!(f, "{number:020}.seg"),
            Self::Segment { number, part, offset } => {
                write!(f, "{number:020}-{part}-{offset}.seg")
            }
            Self::Spare(number) => write!(f, "spare-{number}.seg"),
            Self::Unfinished => f.write_str("unfinished.tmp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_file_is() {
        let check = |name: &str, is: Option<Name>| assert_eq!(Name::of(Path::new(name)), is);
        let segment = |number, part, offset| Some(Name::Segment { number, part, offset });
        check("log/00000000000000000042.seg", segment(42, 0, 0));
        check("log/00000000000000000042-3-4096.seg", segment(42, 3, 4096));
        check("log/spare-7.seg", Some(Name::Spare(7)));
        check("log/spare-8.tmp", Some(Name::Unfinished));
        check("log/42.seg", None);
        check("log/00000000000000000042-0-4096.seg", None);
        check("log/00000000000000000042 (copy).seg", None);
        check("log/notes.txt", None);
    }
}
