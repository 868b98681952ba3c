-- A page of a list: which tasks it wants, and when it is full. ARGV from a place on: state, type, tag (as JSON in ASCII), error
-- code ('+' and text), createdAfter and createdBefore ('' for any), how many tasks at most, how many to look at at most, bytes of
-- bodies after which the page ends.
local open_page, look_at
do
  local ATTRIBUTES = '^' .. ('[^|]*|'):rep(5) .. '(%d+)|' .. ('[^|]*|'):rep(11) .. '()'
  local BACKSLASH = ('\\'):byte()

  function open_page(at)
    return {
      state = filled(ARGV[at]), kind = filled(ARGV[at + 1]), tag = filled(ARGV[at + 2]), code = filled(ARGV[at + 3]),
      from = tonumber(ARGV[at + 4]), to = tonumber(ARGV[at + 5]),
      limit = tonumber(ARGV[at + 6]), budget = tonumber(ARGV[at + 7]), bytes = tonumber(ARGV[at + 8]),
      views = {},
    }
  end

  -- The attributes of a task, of which tags come first. What is read beyond the header counts as bytes of the page.
  local function attributes_of(page, id, header)
    local length, first = string.match(header, ATTRIBUTES)
    local last = first + length - 1
    if last <= #header then return string.sub(header, first, last) end
    page.bytes = page.bytes - length
    return call('GETRANGE', BASE .. 'b:' .. id, first - 1, last - 1)
  end

  -- Whether the attributes have the tag. Tag by tag, because one may look like the seam between two others.
  local function has_tag(attributes, tag)
    if string.sub(attributes, 1, 6) ~= '{"g":[' or not string.find(attributes, tag, 1, true) then return false end
    local at = 6
    repeat
      local first = at + 1
      local last = first
      local escaped
      repeat
        last = string.find(attributes, '["\\]', last + 1)
        escaped = string.byte(attributes, last) == BACKSLASH
        if escaped then last = last + 1 end
      until not escaped
      if string.sub(attributes, first, last) == tag then return true end
      at = last + 1
    until string.sub(attributes, at, at) ~= ','
    return false
  end

  -- Notes in page.outside when a task was created 'before' or 'after' the times that are wanted.
  local function wants(page, task)
    page.outside = nil
    if not (page.kind or page.tag or page.code or page.from or page.to) then return not page.state or task.s == page.state end
    local header = task.header or header_of(task.id)
    if page.from or page.to then
      local created = tonumber(string.match(header, CREATED))
      page.outside = page.from and created < page.from and 'before' or page.to and created >= page.to and 'after' or nil
      if page.outside then return false end
    end
    if page.state and task.s ~= page.state then return false end
    if page.kind and string.match(header, TYPE) ~= page.kind then return false end
    if page.code and not (task.said and call('HGET', BASE .. 'h:' .. task.id, 'ec') == page.code) then return false end
    return not page.tag or has_tag(attributes_of(page, task.id, header), page.tag)
  end

  -- Looks at a task, and answers whether the page ends with it.
  function look_at(page, task)
    page.budget = page.budget - 1
    if wants(page, task) then
      local seen = view(task)
      page.bytes = page.bytes - #seen[2]
      page.views[#page.views + 1] = seen
    end
    return #page.views >= page.limit or page.budget <= 0 or page.bytes <= 0
  end
end
