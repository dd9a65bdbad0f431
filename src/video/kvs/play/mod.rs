//! What is played of the archive, in the service's own forms. Sessions of HLS and MPEG-DASH: [`ask`] makes them, [`session`] is
//! what their token holds, [`window`] says which fragments they show now and [`count`] how many were lost, [`hls`] and [`dash`]
//! write that down, [`http`] serves it. [`clip`] and [`images`] are GetClip and GetImages.
//!
//! A session is its token, as everywhere (`hls::token`): what a playlist holds is a function of the token, the time and
//! what is stored. What [`window`] remembers of sessions only saves reading it again.

mod ask;
mod clip;
mod count;
mod dash;
mod forms;
mod hls;
mod http;
mod images;
mod session;
mod window;

pub use http::router;
pub(super) use window::Memory;
