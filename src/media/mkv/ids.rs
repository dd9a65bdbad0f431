//! Element ids (RFC 9559 §5, RFC 8794 §11.2), with their length markers.

pub const VOID: u32 = 0xec;
pub const CRC_32: u32 = 0xbf;

pub const EBML: u32 = 0x1a45_dfa3;
pub const EBML_VERSION: u32 = 0x4286;
pub const EBML_READ_VERSION: u32 = 0x42f7;
pub const EBML_MAX_ID: u32 = 0x42f2;
pub const EBML_MAX_SIZE: u32 = 0x42f3;
pub const DOC_TYPE: u32 = 0x4282;
pub const DOC_TYPE_VERSION: u32 = 0x4287;
pub const DOC_TYPE_READ_VERSION: u32 = 0x4285;

pub const SEGMENT: u32 = 0x1853_8067;
pub const SEEK_HEAD: u32 = 0x114d_9b74;
pub const SEEK: u32 = 0x4dbb;
pub const SEEK_ID: u32 = 0x53ab;
pub const SEEK_POSITION: u32 = 0x53ac;
pub const CHAPTERS: u32 = 0x1043_a770;
pub const ATTACHMENTS: u32 = 0x1941_a469;

pub const INFO: u32 = 0x1549_a966;
pub const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
pub const DURATION: u32 = 0x4489;
pub const DATE_UTC: u32 = 0x4461;
pub const TITLE: u32 = 0x7ba9;
pub const MUXING_APP: u32 = 0x4d80;
pub const WRITING_APP: u32 = 0x5741;

pub const CLUSTER: u32 = 0x1f43_b675;
pub const TIMESTAMP: u32 = 0xe7;
pub const SIMPLE_BLOCK: u32 = 0xa3;
pub const BLOCK_GROUP: u32 = 0xa0;
pub const BLOCK: u32 = 0xa1;
pub const BLOCK_DURATION: u32 = 0x9b;
pub const REFERENCE_BLOCK: u32 = 0xfb;

pub const TRACKS: u32 = 0x1654_ae6b;
pub const TRACK_ENTRY: u32 = 0xae;
pub const TRACK_NUMBER: u32 = 0xd7;
pub const TRACK_UID: u32 = 0x73c5;
pub const TRACK_TYPE: u32 = 0x83;
pub const FLAG_LACING: u32 = 0x9c;
pub const DEFAULT_DURATION: u32 = 0x23_e383;
pub const NAME: u32 = 0x536e;
pub const LANGUAGE: u32 = 0x22_b59c;
pub const CODEC_ID: u32 = 0x86;
pub const CODEC_PRIVATE: u32 = 0x63a2;
pub const CODEC_DELAY: u32 = 0x56aa;
pub const SEEK_PRE_ROLL: u32 = 0x56bb;
pub const VIDEO: u32 = 0xe0;
pub const PIXEL_WIDTH: u32 = 0xb0;
pub const PIXEL_HEIGHT: u32 = 0xba;
pub const CROP_BOTTOM: u32 = 0x54aa;
pub const CROP_TOP: u32 = 0x54bb;
pub const CROP_LEFT: u32 = 0x54cc;
pub const CROP_RIGHT: u32 = 0x54dd;
pub const DISPLAY_WIDTH: u32 = 0x54b0;
pub const DISPLAY_HEIGHT: u32 = 0x54ba;
pub const COLOUR: u32 = 0x55b0;
pub const MATRIX_COEFFICIENTS: u32 = 0x55b1;
pub const RANGE: u32 = 0x55b9;
pub const TRANSFER: u32 = 0x55ba;
pub const PRIMARIES: u32 = 0x55bb;
pub const AUDIO: u32 = 0xe1;
pub const SAMPLING_FREQUENCY: u32 = 0xb5;
pub const OUTPUT_FREQUENCY: u32 = 0x78b5;
pub const CHANNELS: u32 = 0x9f;
pub const BIT_DEPTH: u32 = 0x6264;
pub const CONTENT_ENCODINGS: u32 = 0x6d80;
pub const CONTENT_ENCODING: u32 = 0x6240;
pub const CONTENT_SCOPE: u32 = 0x5032;
pub const CONTENT_TYPE: u32 = 0x5033;
pub const CONTENT_COMPRESSION: u32 = 0x5034;
pub const CONTENT_ALGORITHM: u32 = 0x4254;
pub const CONTENT_SETTINGS: u32 = 0x4255;

pub const CUES: u32 = 0x1c53_bb6b;
pub const CUE_POINT: u32 = 0xbb;
pub const CUE_TIME: u32 = 0xb3;
pub const CUE_POSITIONS: u32 = 0xb7;
pub const CUE_TRACK: u32 = 0xf7;
pub const CUE_CLUSTER: u32 = 0xf1;
pub const CUE_RELATIVE: u32 = 0xf0;

pub const TAGS: u32 = 0x1254_c367;
pub const TAG: u32 = 0x7373;
pub const SIMPLE_TAG: u32 = 0x67c8;
pub const TAG_NAME: u32 = 0x45a3;
pub const TAG_STRING: u32 = 0x4487;

/// Whether an element stands directly in a Segment.
pub fn top_level(id: u32) -> bool {
    matches!(id, SEEK_HEAD | INFO | CLUSTER | TRACKS | CUES | TAGS | CHAPTERS | ATTACHMENTS)
}
