// A panel of sliders made from a list of fields. While one moves, values go out with rest = false;
// once it rests, once more with rest = true. What is sent is always the latest: older values are never queued.
const MOVING = 450, HELD = 1500, RELEASED = 40; // ms without a change until values count as at rest

function make(name, className, parent, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// wide ranges get finer steps near their low end: position^3 instead of position
function curve(field) {
  const wide = field.lo >= 0 && (field.hi - field.lo) / field.step > 240 ? 3 : 1;
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(field.step) - 1e-9)));
  return {
    toPlace: (value) => Math.round(1000 * Math.pow((Math.min(Math.max(value, field.lo), field.hi) - field.lo) / (field.hi - field.lo), 1 / wide)),
    toValue: (place) => {
      const raw = field.lo + (field.hi - field.lo) * Math.pow(place / 1000, wide);
      return Math.min(field.hi, Math.max(field.lo, Number((Math.round(raw / field.step) * field.step).toFixed(digits))));
    },
  };
}

function render({ model, el }) {
  const panel = make('div', 'cpcdr-sliders', el), rows = new Map();
  panel.dataset.lmSuppressShortcuts = 'true'; // keys typed here are not commands of JupyterLab
  let values = {}, timer = 0, count = 0, held = false;

  const send = (rest) => {
    model.set('change', { values: { ...values }, rest, count: ++count, stamp: Date.now() });
    model.save_changes();
  };
  const moved = (name, value, wait) => {
    values[name] = value;
    show(name);
    clearTimeout(timer);
    if (wait === MOVING) send(false);
    timer = setTimeout(() => { timer = 0; send(true); }, wait === MOVING && held ? HELD : wait);
  };

  // a hand that pauses with the slider held is still moving
  const hold = (event) => { held = event.type === 'pointerdown' && event.target.type === 'range'; };
  for (const type of ['pointerdown', 'pointerup', 'pointercancel']) panel.addEventListener(type, hold);

  const show = (name) => {
    const row = rows.get(name), value = values[name], base = model.get('base')[name];
    if (!row) return;
    row.write(value);
    row.node.classList.toggle('changed', value !== base);
  };

  // what changes nothing now keeps its value, but no hand can move it
  const rest = () => {
    const idle = model.get('idle') ?? [];
    for (const [name, row] of rows) {
      row.node.classList.toggle('idle', idle.includes(name));
      for (const input of row.node.querySelectorAll('input, select')) input.disabled = idle.includes(name);
    }
  };

  const build = () => {
    panel.replaceChildren(); rows.clear();
    let group = null, body = null;
    for (const field of model.get('fields')) {
      if (field.group !== group) {
        group = field.group;
        const fold = make('details', '', panel);
        fold.open = !model.get('folded').includes(group);
        make('summary', '', fold, group);
        body = make('div', 'rows', fold);
      }
      const node = make('label', 'row', body);
      node.title = field.doc + (field.unit ? ` [${field.unit}]` : '') + ` (${field.name}; double-click the name to set it back)`;
      node.dataset.name = field.name;
      const name = make('span', 'name', node, field.label);
      name.addEventListener('dblclick', (event) => { event.preventDefault(); moved(field.name, model.get('base')[field.name], RELEASED); });
      rows.set(field.name, { node, write: (field.choices ? choice : field.kind === 'bool' ? tick : number)(field, node) });
    }
    rest(); take();
  };

  const choice = (field, node) => {
    const select = make('select', 'wide', node);
    for (const option of field.choices) make('option', '', select, option);
    select.addEventListener('change', () => moved(field.name, select.value, RELEASED));
    return (value) => { select.value = value; };
  };
  const tick = (field, node) => {
    const input = make('input', '', make('span', 'wide', node));
    input.type = 'checkbox';
    input.addEventListener('change', () => moved(field.name, input.checked, RELEASED));
    return (value) => { input.checked = value; };
  };
  const number = (field, node) => {
    const free = field.lo === null || field.hi === null || field.hi - field.lo > 1e6;
    const typed = document.createElement('input');
    typed.type = 'number'; typed.step = 'any'; typed.setAttribute('aria-label', field.name);
    const commit = () => { if (typed.value !== '' && Number(typed.value) !== values[field.name]) moved(field.name, Number(typed.value), RELEASED); };
    typed.addEventListener('change', commit);
    typed.addEventListener('keydown', (event) => { if (event.key === 'Enter') commit(); });
    let slider = null, places = null;
    if (!free) {
      places = curve(field);
      slider = make('input', '', node);
      Object.assign(slider, { type: 'range', min: 0, max: 1000, step: 1 });
      slider.setAttribute('aria-label', field.name);
      slider.addEventListener('input', () => {
        const value = places.toValue(Number(slider.value));
        if (value !== values[field.name]) moved(field.name, value, MOVING);
      });
      slider.addEventListener('change', () => moved(field.name, places.toValue(Number(slider.value)), RELEASED));
      // arrow keys go by the field's own step, not by a thousandth of the range
      slider.addEventListener('keydown', (event) => {
        const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
        if (!way) return;
        event.preventDefault();
        const near = Math.round((values[field.name] + way * field.step) / field.step) * field.step;
        moved(field.name, Number(Math.min(field.hi, Math.max(field.lo, near)).toFixed(6)), MOVING);
      });
    } else typed.classList.add('wide');
    node.append(typed);
    make('span', 'unit', node, field.unit);
    return (value) => {
      typed.value = value;
      if (slider && places.toValue(Number(slider.value)) !== value) slider.value = places.toPlace(value);
      if (slider) slider.style.setProperty('--fill', `${slider.value / 10}%`);
    };
  };

  // what Python says counts, except while a hand moves a slider: then the hand is ahead of Python
  const take = () => { if (!timer) accept(model.get('values')); };
  const accept = (from) => { values = { ...from }; for (const name of rows.keys()) show(name); };
  const back = (message) => { clearTimeout(timer); timer = 0; accept(message.values); };
  const listeners = [['change:fields', build], ['change:values', take], ['change:base', take], ['change:idle', rest], ['msg:custom', back]];
  for (const [name, action] of listeners) model.on(name, action);
  build();
  return () => { clearTimeout(timer); for (const [name, action] of listeners) model.off(name, action); };
}

export default { render };
