// How long pictures take, for whoever measures: `window.__rushes`.
//
// `firstPictureMs`: from the click on a camera (or the load of the page) to its first frame on the screen.
// `seekPictureMs`: from the last wish for another moment (or live) to the first frame of that.

declare global {
  interface Window {
    __rushes: { firstPictureMs: number | null; seekPictureMs: number | null };
  }
}

window.__rushes = { firstPictureMs: null, seekPictureMs: null };

/** When the present player was asked for; the load of the page (0) for an address opened directly. */
let asked = 0;
let sought: number | null = null;

/** A camera was clicked, at this `event.timeStamp`. */
export function markClick(at: number): void {
  asked = at > 0 ? at : performance.now();
  sought = null;
  window.__rushes = { firstPictureMs: null, seekPictureMs: null };
}

/** Another moment is wanted. */
export function markSeek(): void {
  sought = performance.now();
  window.__rushes.seekPictureMs = null;
}

/** What was wanted is on the screen, since this time of `performance.now()`. */
export function markPicture(at: number): void {
  window.__rushes.firstPictureMs ??= Math.round(at - asked);
  if (sought === null) return;
  window.__rushes.seekPictureMs = Math.round(at - sought);
  sought = null;
}
