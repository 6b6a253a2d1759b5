// One picture of fixed size: draws the newest bytes, shows marks on top, reports clicks in image pixels.
const SVG = 'http://www.w3.org/2000/svg';

function shape(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function render({ model, el }) {
  const box = document.createElement('div');
  box.className = 'cpcdr-picture';
  const canvas = document.createElement('canvas');
  const marks = document.createElementNS(SVG, 'svg');
  canvas.setAttribute('role', 'img');
  box.append(canvas, marks);
  el.append(box);
  const context = canvas.getContext('bitmaprenderer');
  let newest = 0;

  const resize = () => {
    const [width, height] = model.get('size');
    box.style.setProperty('--shape', width / height);
    marks.setAttribute('viewBox', `0 0 ${width} ${height}`);
    canvas.setAttribute('aria-label', model.get('about'));
  };

  // pictures may arrive faster than they decode: whatever is no longer the newest is dropped
  const draw = async () => {
    const bytes = model.get('data'), mine = ++newest;
    if (!bytes || !bytes.byteLength) return;
    const bitmap = await createImageBitmap(new Blob([bytes]));
    if (mine !== newest) { bitmap.close(); return; }
    context.transferFromImageBitmap(bitmap);
    canvas.dataset.drawn = Number(canvas.dataset.drawn ?? 0) + 1;
    canvas.dispatchEvent(new CustomEvent('drawn'));
  };

  const mark = () => {
    const width = model.get('size')[0], r = width / 72;
    marks.replaceChildren();
    for (const m of model.get('marks')) {
      const kind = m.kind ?? '';
      if (m.path) {
        const points = m.path.map((p) => p.join(',')).join(' ');
        for (const part of ['halo', 'line']) marks.append(shape('polyline', { points, class: `${part} ${kind}`, 'vector-effect': 'non-scaling-stroke' }));
      } else if (m.label) {
        const [u, v] = m.label;
        for (const part of ['behind', 'words']) marks.append(shape('text', { x: u, y: v, class: `${part} ${kind}`, 'font-size': r * (m.size ?? 1.1) }, m.name));
      } else if (m.gate) {
        const [u, v] = m.gate;
        marks.append(shape('rect', { x: u - r * .8, y: v - r * .8, width: r * 1.6, height: r * 1.6, class: 'gate', transform: `rotate(45 ${u} ${v})`, 'vector-effect': 'non-scaling-stroke' }));
      } else {
        const [u, v] = m.pin;
        marks.append(shape('circle', { cx: u, cy: v, r: r * (m.size ?? 1.25), class: `pin ${kind}`, 'vector-effect': 'non-scaling-stroke' }));
        marks.append(shape('text', { x: u, y: v, class: `pin ${kind}`, 'font-size': r * 1.7 }, m.name));
      }
    }
  };

  let clicks = 0;
  box.addEventListener('click', (event) => {
    const [width, height] = model.get('size'), frame = canvas.getBoundingClientRect();
    const clamp = (x, n) => Math.max(0, Math.min(n - 1, Math.floor(x)));
    const u = clamp((event.clientX - frame.left) / frame.width * width, width);
    const v = clamp((event.clientY - frame.top) / frame.height * height, height);
    model.set('click', { u, v, shift: event.shiftKey, count: ++clicks, stamp: Date.now() });
    model.save_changes();
  });

  // dragging: where the stroke began and where it is; of a stroke only the newest place counts
  let start = null, stroke = 0, keys = { right: 0, up: 0 }, pause = 0;
  const place = (event) => {
    const [width, height] = model.get('size'), frame = canvas.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width * width - .5, (event.clientY - frame.top) / frame.height * height - .5];
  };
  const tell = (event, rest) => { model.set('drag', { stroke, start, to: place(event), rest }); model.save_changes(); };
  const down = (event) => {
    if (!model.get('grab') || event.button) return;
    box.setPointerCapture(event.pointerId);
    start = place(event); stroke = Date.now();
    box.classList.add('held');
  };
  const move = (event) => { if (start) tell(event, false); };
  const up = (event) => {
    if (!start) return;
    tell(event, true);
    start = null;
    box.classList.remove('held');
  };
  for (const [name, action] of [['pointerdown', down], ['pointermove', move], ['pointerup', up], ['pointercancel', up]]) box.addEventListener(name, action);
  // arrow keys do what the hand does; how often each was pressed, so that none gets lost
  const nudge = (rest) => { model.set('nudge', { ...keys, rest }); model.save_changes(); };
  box.addEventListener('keydown', (event) => {
    const [key, way] = { ArrowRight: ['right', 1], ArrowLeft: ['right', -1], ArrowUp: ['up', 1], ArrowDown: ['up', -1] }[event.key] ?? [];
    if (!key || !model.get('grab')) return;
    event.preventDefault(); event.stopPropagation();
    keys[key] += way * (event.shiftKey ? 5 : 1);
    nudge(false);
    clearTimeout(pause); pause = setTimeout(() => nudge(true), 400);
  });
  const ready = () => {
    const grab = model.get('grab');
    box.classList.toggle('grab', grab);
    box.dataset.lmSuppressShortcuts = String(grab);
    if (grab) box.tabIndex = 0; else box.removeAttribute('tabindex');
    keys = { right: 0, up: 0, ...model.get('nudge') };
  };

  // plotly fits its cloud to the page only when the window says that it changed
  let wide = 0;
  const fit = new ResizeObserver(() => {
    if (box.clientWidth !== wide) { wide = box.clientWidth; window.dispatchEvent(new Event('resize')); }
  });
  fit.observe(box);

  const listeners = [['change:data', draw], ['change:size', resize], ['change:about', resize], ['change:marks', mark], ['change:size', mark], ['change:grab', ready]];
  for (const [name, action] of listeners) model.on(name, action);
  resize(); draw(); mark(); ready();
  return () => { clearTimeout(pause); fit.disconnect(); for (const [name, action] of listeners) model.off(name, action); };
}

export default { render };
