//! Reading ordinary MP4 and MOV files, and fragmented ones: what `import` takes.
//!
//! Nothing here reads a file. The caller walks the top level with [`next_box`], reads `moov` whole (it may stand
//! anywhere) and gives it to [`Movie::parse`]; then [`MovieTrack::samples`] tells where in the file each sample lies and
//! when it is decoded and shown, and, of a fragmented file, [`Movie::fragment`] does so for each `moof`.
//!
//! **Memory.** The sample tables stay in the bytes of `moov` and are walked where they lie; nothing grows with what a
//! table *claims* to hold. [`Samples`] ends at [`MAX_SAMPLES`] a track.
//!
//! **Time.** Samples' times are ticks of the track from its own zero; [`MovieTrack::shift`] brings them onto the movie's
//! time line, as the edit list says: a start later than the other tracks', or samples before the start that must be
//! decoded and are not shown (they come out with times below 0). Files whose edit list cuts the middle out, or repeats
//! parts, are read whole ([`MovieTrack::edited`]).
//!
//! Sound that is stored sample by sample (G.711, PCM) comes out in packets of up to 20 ms.

mod description;
mod moof;
mod movie;
mod samples;

pub(crate) use description::decoder;
pub use moof::MovieRun;
pub use movie::{Movie, MovieTrack, TopBox, next_box};
pub use samples::{MAX_SAMPLES, MovieSample, Samples};

#[cfg(test)]
mod tests;

const WHAT: &str = "MP4 movie";
