-- Moving a task between the structures; in flight it is in exactly one.
-- Takes a task out of the structure it is in. In a ready list it stays behind as an entry that no longer fits
-- its task, which the next pop skips.
local function leave(queue, task)
  local state = task.s
  if state == 'ready' then
    if task.fresh then call('SETRANGE', BASE .. 'b:' .. task.id, 0, '2') end
    add_ready(queue, task.p, -1)
    if task.fr then
      zdel(front_key(task.p, queue.name), task.id)
      add(queue, 'front', -1)
      put(task, 'fr', nil)
    end
  else
    add(queue, '#' .. state, -1)
    if state == 'scheduled' then
      zdel(BASE .. 'd:' .. queue.name, task.id)
    elseif state == 'leased' then
      zdel(BASE .. 'x:' .. queue.name, task.id)
      freed(queue)
    else
      zdel(BASE .. 'z:' .. state .. ':' .. queue.name, task.id)
    end
  end
  if task.xa and (state == 'ready' or state == 'scheduled') then zdel(BASE .. 'e:' .. queue.name, task.id) end
end

local function watch_ttl(queue, task)
  if task.xa then
    zput(BASE .. 'e:' .. queue.name, task.id, task.xa)
    expect(queue, task.xa)
  end
end

-- place: 'back', 'old' (where it stood) or 'front' (before all but expired ones of earlier grants).
local function enter_ready(queue, task, place)
  put(task, 's', 'ready')
  add_ready(queue, task.p, 1)
  if place == 'back' then
    put(task, 'pl', take_number(queue, 'n'))
    push(line_key(task.p, queue.name), task.id .. ':' .. digits(task.pl))
  else
    if place == 'front' then put(task, 'pl', task.gn - FRONT) end
    put(task, 'fr', '1')
    add(queue, 'front', 1)
    zput(front_key(task.p, queue.name), task.id, task.pl)
  end
  watch_ttl(queue, task)
  readied[queue.name] = true
end

local function enter_scheduled(queue, task, at)
  put(task, 's', 'scheduled')
  put(task, 'ra', at)
  add(queue, '#scheduled', 1)
  zput(BASE .. 'd:' .. queue.name, task.id, at)
  expect(queue, at)
  watch_ttl(queue, task)
end

local function set_deadline(queue, task, deadline)
  put(task, 'ex', deadline)
  zput(BASE .. 'x:' .. queue.name, task.id, deadline)
  expect(queue, deadline)
end

local function enter_leased(queue, task, deadline)
  put(task, 's', 'leased')
  add(queue, '#leased', 1)
  set_deadline(queue, task, deadline)
end

local function enter_finished(queue, task, state)
  put(task, 's', state)
  put(task, 'fa', NOW)
  add(queue, '#' .. state, 1)
  if state == 'dead' then add(queue, '+dead', 1) end
  zput(BASE .. 'z:' .. state .. ':' .. queue.name, task.id, NOW)
  expect_retention(queue, retention_due(queue, state))
  release_key(queue, task, 'finish')
  announce_end(queue, task.id)
end
