//! What an operation takes, declared once.

/// Declares an [`Input`](crate::aws::Input): `NAME { MEMBER: TYPE = "NameOnTheWire" => CONSTRAINTS; … } RESOURCE`. All members
/// are optional; behind the name of one that is a list or a map comes `["wire::aws::few"]`; constraints are a `|violations, &Option<TYPE>|`, the resource is a `|&input, &home|`. `; by F` is
/// [`resource_by`](crate::aws::Input::resource_by), `; answers N` is [`answer_bytes`](crate::aws::Input::answer_bytes).
///
/// Who uses it has `serde`, `world` and `access` among its dependencies.
#[macro_export]
#[doc(hidden)]
macro_rules! __aws_input {
    (@check $v:ident $self:ident $field:ident $ty:ty) => {};
    (@check $v:ident $self:ident $field:ident $ty:ty, $check:expr) => {{
        let check: fn(&mut $crate::aws::Violations, &Option<$ty>) = $check;
        check($v, &$self.$field);
    }};
    ($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty = $wire:literal $([$few:literal])? $(=> $check:expr)?;)* } $resource:expr $(; by $by:expr)? $(; answers $bytes:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Default, ::serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(#[serde(rename = $wire $(, deserialize_with = $few)?)] #[allow(dead_code, reason = "part of the model")] pub(crate) $field: Option<$ty>,)*
        }
        impl $crate::aws::Input for $name {
            fn check(&self, v: &mut $crate::aws::Violations) {
                let _ = &v;
                $($crate::aws::input!(@check v self $field $ty $(, $check)?);)*
            }
            fn resource(&self, home: &::world::Home) -> Result<::world::Arn, $crate::aws::AwsError> {
                let f: fn(&Self, &::world::Home) -> Result<::world::Arn, $crate::aws::AwsError> = $resource;
                f(self, home)
            }
            $(fn resource_by(&self, gate: &::access::Gate, home: &::world::Home) -> Result<::world::Arn, $crate::aws::AwsError> {
                $by(gate, self, home)
            })?
            $(fn answer_bytes(&self) -> usize {
                $bytes
            })?
        }
    };
}
