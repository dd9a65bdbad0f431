//! Floor 4: live media in and out: RTSP by GStreamer.
