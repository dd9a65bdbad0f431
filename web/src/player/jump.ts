// "Jump to a time": a field that opens over the timeline.

import type { Ms } from '../api/types';
import type { App } from '../app/context';
import { planJump } from '../time/jump';
import { h, setText } from '../ui/dom';

export interface JumpOptions {
  app: App;
  position(): Ms | null;
  earliest(): Ms | null;
  go(at: Ms): void;
}

export class JumpInput {
  readonly element: HTMLElement;
  private readonly input = h('input', { type: 'datetime-local', step: '1', class: 'input jump-input', 'aria-label': 'Jump to a time', 'data-testid': 'jump-input', title: 'Jump to a time (T)' });
  private readonly words = h('span', { class: 'jump-words', role: 'status' });
  private readonly choices = h('span', { class: 'jump-choices' });
  private edited = false;

  constructor(private readonly options: JumpOptions) {
    const form = h('form', { class: 'jump' }, this.input, h('button', { type: 'submit', class: 'button' }, 'Go'));
    this.element = h('div', { class: 'jump-box' }, form, this.words, this.choices);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.submit();
    });
    this.input.addEventListener('input', () => {
      this.edited = true;
      this.say('');
    });
    this.input.addEventListener('focus', () => {
      if (!this.edited) this.fill();
    });
    this.input.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.input.blur();
      // Some browsers do not submit from this kind of field.
      if (event.key !== 'Enter') return;
      event.preventDefault();
      this.submit();
    });
    this.fill();
  }

  focus(): void {
    this.fill();
    this.input.focus();
  }

  /** Follows the player while nobody is typing. */
  update(): void {
    if (!this.edited && document.activeElement !== this.input) this.fill();
  }

  private fill(): void {
    const { app } = this.options;
    const value = app.time.inputValue(this.options.position() ?? app.api.clock.now());
    if (this.input.value !== value) this.input.value = value;
    this.edited = false;
  }

  private submit(): void {
    const { app } = this.options;
    const plan = planJump(this.input.value, app.time, app.api.clock.now(), this.options.earliest());
    if (plan.kind === 'wrong') return this.say(plan.words);
    if (plan.kind === 'choose') {
      this.say('The clocks went back: which one?');
      this.choices.replaceChildren(
        ...plan.choices.map(({ at, label }) => h('button', { type: 'button', class: 'button small', on: { click: () => this.go(at, null) } }, label)),
      );
      return;
    }
    this.go(plan.at, plan.note);
  }

  private go(at: Ms, note: string | null): void {
    this.say(note ?? '');
    this.edited = false;
    this.input.blur();
    this.options.go(at);
  }

  private say(words: string): void {
    setText(this.words, words);
    this.choices.replaceChildren();
  }
}
