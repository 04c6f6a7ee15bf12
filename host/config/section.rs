//! How a section of the table of keys is written, and what the reference and the schema see of it.
//!
//! Each entry reads `"key in the file" => field: type = kind(default, minimum, maximum);` and cannot do
//! without a doc comment, which is its entry in the reference. A key's unit stands in its name.

use super::setting::Description;

/// A section as the reference and the schema see it.
pub(super) struct Section {
    /// `server`, or `plugins.NAME` for a section that each of several has.
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
    pub(super) keys: fn() -> Vec<Key>,
    pub(super) names: &'static [&'static str],
}

impl Section {
    /// The section's own name, or `plugins`.
    pub(super) fn top(&self) -> &'static str {
        self.path.split('.').next().unwrap_or(self.path)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.names.contains(&key)
    }
}

/// A key as the reference and the schema see it.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) description: Description,
}

macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident at $path:literal {
            $( $(#[doc = $key_doc:literal])+ $key:literal => $field:ident: $type:ty = $setting:expr; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $key_doc])+ pub $field: $type, )+
        }

        impl $name {
            pub(in crate::config) const SECTION: crate::config::section::Section = crate::config::section::Section {
                path: $path,
                doc: concat!($($doc, "\n"),+),
                keys: || vec![$( crate::config::section::Key {
                    name: $key,
                    doc: concat!($($key_doc, "\n"),+),
                    description: crate::config::setting::Setting::describe(&$setting),
                } ),+],
                names: &[$( $key ),+],
            };

            /// Reads the section that stands at `path`; what is absent gets its default.
            fn read_table<'s>(
                reader: &mut crate::config::reader::Reader<'s>,
                table: Option<&toml::de::DeTable<'s>>,
                path: &str,
            ) -> Self {
                if let Some(table) = table {
                    reader.refuse_unknown(table, path, Self::SECTION.names);
                }
                $name { $( $field: reader.setting(table, path, $key, &$setting) ),+ }
            }

            #[allow(dead_code, reason = "some sections only come from a file")]
            fn defaults() -> Self {
                $name { $( $field: crate::config::setting::Setting::default(&$setting) ),+ }
            }
        }
    };
}

/// For sections that stand once in the file, all of whose keys have a default.
macro_rules! top_level {
    ($name:ident) => {
        impl $name {
            /// Reads the section from the document; what is absent gets its default.
            pub(in crate::config) fn read<'s>(
                reader: &mut crate::config::reader::Reader<'s>,
                root: &toml::de::DeTable<'s>,
            ) -> Self {
                let table = reader.table(root, "", Self::SECTION.path);
                Self::read_table(reader, table, Self::SECTION.path)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::defaults()
            }
        }
    };
}

/// For sections of which there is one for each name the operator gives.
macro_rules! named {
    ($name:ident) => {
        impl $name {
            /// Reads the section of `name`; none if it is no table, which is reported.
            pub(in crate::config) fn read<'s>(
                reader: &mut crate::config::reader::Reader<'s>,
                sections: &toml::de::DeTable<'s>,
                name: &str,
            ) -> Option<Self> {
                let parent = Self::SECTION.top();
                let table = reader.table(sections, parent, name)?;
                let path = crate::config::reader::join(parent, name);
                Some(Self::read_table(reader, Some(table), &path))
            }
        }
    };
}
