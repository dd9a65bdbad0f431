use std::fmt;

/// Something that can be done, by its name in policies: `service:Operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(pub &'static str);

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! actions {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// All actions there are. Those of AWS's services have AWS's names (Service Authorization Reference).
        pub mod actions {
            use super::Action;
            $(#[doc = concat!("`", $text, "`")] pub const $name: Action = Action($text);)*
            /// Every one of them.
            pub const ALL: &[Action] = &[$($name),*];
        }
    };
}

actions! {
    CREATE_STREAM = "kinesisvideo:CreateStream",
    DELETE_STREAM = "kinesisvideo:DeleteStream",
    DESCRIBE_STREAM = "kinesisvideo:DescribeStream",
    LIST_STREAMS = "kinesisvideo:ListStreams",
    UPDATE_STREAM = "kinesisvideo:UpdateStream",
    UPDATE_DATA_RETENTION = "kinesisvideo:UpdateDataRetention",
    PUT_MEDIA = "kinesisvideo:PutMedia",
    GET_MEDIA = "kinesisvideo:GetMedia",
    LIST_FRAGMENTS = "kinesisvideo:ListFragments",
    GET_HLS_STREAMING_SESSION_URL = "kinesisvideo:GetHLSStreamingSessionURL",
    GET_IMAGES = "kinesisvideo:GetImages",
    GET_CLIP = "kinesisvideo:GetClip",
    LIST_CAMERAS = "rushes:ListCameras",
    DESCRIBE_CAMERA = "rushes:DescribeCamera",
    CREATE_CAMERA = "rushes:CreateCamera",
    UPDATE_CAMERA = "rushes:UpdateCamera",
    DELETE_CAMERA = "rushes:DeleteCamera",
    PROBE_CAMERA = "rushes:ProbeCamera",
    LIST_PINS = "rushes:ListPins",
    PIN_RECORDING = "rushes:PinRecording",
    UNPIN_RECORDING = "rushes:UnpinRecording",
    READ_METRICS = "rushes:ReadMetrics",
    READ_STORAGE = "rushes:ReadStorage",
    READ_USAGE = "rushes:ReadUsage",
    SIGN_IN = "rushes:SignIn",
    CREATE_CONSOLE_LINK = "rushes:CreateConsoleLink",
}
