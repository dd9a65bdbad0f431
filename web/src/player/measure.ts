// How long it takes from the click on a camera to its first picture: `window.__rushes.firstPictureMs`.

declare global {
  interface Window {
    __rushes: { firstPictureMs: number | null };
  }
}

window.__rushes = { firstPictureMs: null };

/** When the present player was asked for; the load of the page (0) for an address opened directly. */
let asked = 0;

/** A camera was clicked, at this `event.timeStamp`. */
export function markClick(at: number): void {
  asked = at > 0 ? at : performance.now();
  window.__rushes.firstPictureMs = null;
}

/** A video frame was presented at this time of `performance.now()`; only the first after a click counts. */
export function markPicture(at: number): void {
  window.__rushes.firstPictureMs ??= Math.round(at - asked);
}
